#!/usr/bin/env bash
# Runs every test, from nothing: prepares Python, Chromium, the container engine and a system of its own, and leaves
# nothing of it behind. `tests/run.sh --help` says more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV="$PWD/.venv-tests"
# shellcheck source=/dev/null
source tests/support/prepare.sh

usage() {
  cat <<'USAGE'
Usage: tests/run.sh [unit|check] [pytest arguments...]

  tests/run.sh                 everything: static checks, unit, api, store, docs, scripts, contract, integration, browser
  tests/run.sh unit            what needs no container engine (about a minute)
  tests/run.sh check           static checks only: ruff, mypy, import-linter, shellcheck, hadolint
  tests/run.sh unit --hypothesis-profile explore
                               with other generated input than always: to look for what nobody thought of
  tests/run.sh -k drain -x     arguments go to pytest; so do paths: tests/run.sh tests/integration/test_hardening.py

The system under test is a stack of its own (name, port, volumes, images), so a running system is not disturbed. It is
stopped and removed at the end, also after Ctrl-C.

  KEEP=1 TEST_STACK=smlops-mine tests/run.sh …   keeps the system afterwards; the next run with that name uses it again
USAGE
}

main() {
  local needs_engine=yes
  local -a selection=()
  case "${1:-}" in
    -h | --help) usage; exit 0 ;;
    unit)
      shift
      needs_engine=no
      selection=(-m "not integration and not browser") ;;
    check)
      shift
      needs_engine=no
      selection=(tests/static) ;;
  esac

  # Lets tests tell "nobody prepared this machine" (skip) from "the preparation failed" (fail).
  export TESTS_PREPARED=1
  prepare_python
  if [[ $needs_engine == yes ]]; then
    prepare_chromium
    [[ -n ${TEST_STACK:-} ]] || TEST_STACK="smlops-test-$(random_hex)"
    TEST_DIRECTORY="${TMPDIR:-/tmp}/$TEST_STACK"
    mkdir -p "$TEST_DIRECTORY"
    chmod 755 "$TEST_DIRECTORY" # the runner, another user, reads the functions below it
    export TEST_STACK TEST_DIRECTORY
    say "The system under test will be called $TEST_STACK; its files are in $TEST_DIRECTORY"
    trap clean_up EXIT
  else
    unset TEST_STACK
  fi
  run_pytest "${selection[@]}" "$@"
}

# pytest runs in the background, because a shell that waits for a child in the foreground hears no signal before the
# child ends. On a signal pytest tears down what it started and still prints its summary.
run_pytest() {
  local result=0 pytest
  "$VENV/bin/python" -m pytest "$@" &
  pytest=$!
  # shellcheck disable=SC2064 # the process id as it is now
  trap "kill -TERM $pytest 2>/dev/null" INT TERM HUP
  while kill -0 "$pytest" 2>/dev/null; do
    result=0
    wait "$pytest" || result=$?
  done
  exit "$result"
}

random_hex() { od -An -N3 -tx1 /dev/urandom | tr -d ' \n'; }

prepare_chromium() {
  command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null && return
  if can_install; then
    say "Installing Chromium for the browser tests"
    install_packages chromium
  else
    say "No Chromium found, and it cannot be installed without root on Debian: the browser tests will fail."
  fi
}

# Removes what carries the name of the stack under test, and nothing else. Silent, because pytest's summary is to be the
# last line; and nearly always there is nothing left to do, because pytest has done it.
# shellcheck disable=SC2329 # the trap calls it
clean_up() {
  local result=$?
  trap '' INT TERM HUP
  if [[ -n ${KEEP:-} ]]; then
    say "Kept: stack $TEST_STACK, files in $TEST_DIRECTORY"
  else
    PYTHONPATH=tests "$VENV/bin/python" -m support.stack remove "$TEST_STACK" "$TEST_DIRECTORY" || true
  fi
  exit "$result"
}

main "$@"
