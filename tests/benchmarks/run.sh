#!/usr/bin/env bash
# Measures how fast this is on this machine and writes the figures into docs/performance.md. `--help` says more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly VENV="$PWD/.venv-tests"
# shellcheck source=/dev/null
source tests/support/prepare.sh

usage() {
  cat <<'USAGE'
Usage: tests/benchmarks/run.sh [--quick] [name ...]

  tests/benchmarks/run.sh                 everything, about 40 minutes
  tests/benchmarks/run.sh --quick         everything with small samples, about 5 minutes: to try the scripts
  tests/benchmarks/run.sh peers burst     only these

Names, with the minutes that each takes:
  peers      20  predict cold, warm and reused, against other model servers
  overhead    3  what the system adds to a handler
  sustained   7  single-use containers per second, against what the machine can start
  burst       5  many calls at once on a small pool; a full queue
  memory      1  of a ready environment, and of the services
  train       3  train cold and warm, against the same handler run bare
  growth      4  many functions in the catalog, many records in the store
  soak       35  only when named: half an hour of mixed calls; what grows, gets slower, stays behind
  crashes     8  only when named: a thousand invocations in the background while the runner is killed ten times

The system that is measured is a stack of its own (name, port, volumes, images), so a running system is not disturbed,
except that both share the machine: let nothing else run. It is stopped and removed at the end, also after Ctrl-C.

  KEEP=1 BENCHMARK_STACK=smlops-mine tests/benchmarks/run.sh …   keeps it; the next run with that name uses it again
USAGE
}

main() {
  local argument
  for argument in "$@"; do
    if [[ $argument == -h || $argument == --help ]]; then usage; exit 0; fi
  done
  prepare_python
  prepare_wrk
  trust_the_hosts_certificates
  PYTHONPATH=tests exec "$VENV/bin/python" -m benchmarks "$@"
}

prepare_wrk() {
  command -v wrk >/dev/null && return
  if can_install; then
    say "Installing wrk"
    install_packages wrk
  else
    say "No wrk found, and it cannot be installed without root on Debian: throughput is measured by a client in Python."
  fi
}

main "$@"
