# shellcheck shell=bash
# Prepares what tests and benchmarks need on this machine. Sourced in the root of the checkout.

: "${VENV:?names the folder of the test tools}"

say() { printf '==> %s\n' "$*" >&2; }

prepare_python() {
  local stamp="$VENV/.installed" wanted
  wanted=$(sha256sum tests/requirements.txt)
  [[ -f $stamp && $(<"$stamp") == "$wanted" ]] && return
  say "Installing the test tools into .venv-tests"
  local python
  python=$(find_python) || {
    if can_install; then
      install_packages python3 python3-venv
      python=$(find_python)
    else
      say "Python 3.11 or later with its venv module is needed (Debian: apt-get install python3 python3-venv)."
      exit 1
    fi
  }
  trust_the_hosts_certificates
  "$python" -m venv --clear "$VENV"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check uv 2>&1 | grep -v '^WARNING: Location' >&2 || true
  # The lock names every package; one of them would refuse the runner's gunicorn (tests/overrides.txt).
  "$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --no-deps --require-hashes -r tests/requirements.txt
  printf '%s\n' "$wanted" >"$stamp"
}

find_python() {
  local candidate
  for candidate in python3.11 python3 python3.12 python3.13; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# Behind a proxy that signs TLS anew, the host's bundle knows its certificate and Python's own does not.
trust_the_hosts_certificates() {
  local bundle=/etc/ssl/certs/ca-certificates.crt
  [[ -f $bundle ]] || return 0
  export SSL_CERT_FILE="${SSL_CERT_FILE:-$bundle}" PIP_CERT="${PIP_CERT:-$bundle}"
}

can_install() { [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; }

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; } >/dev/null 2>"$VENV.apt.log" </dev/null || {
    cat "$VENV.apt.log" >&2
    exit 1
  }
  rm -f "$VENV.apt.log"
}
