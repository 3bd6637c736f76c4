#!/usr/bin/env bash
# Installs what is missing, builds the house, starts it, and proves with one real call that it works.
# Safe to run again: what exists is used, what runs is left running, nothing that others created is touched.
set -Eeuo pipefail

usage() {
  cat <<'TEXT'
Usage: ./start.sh [--no-install]   start everything (again: harmless, takes a few seconds)
       ./start.sh --stop           stop everything; models, records and logs stay
       ./start.sh --help

  --no-install   never install packages; say what is missing instead

Settings are read from .env (created by the first start, never overwritten afterwards) and from the environment,
which wins: HTTP_PORT=8080 ./start.sh. The README explains every setting. ENV_FILE names another settings file,
STACK another name for containers, images and volumes, so that several stacks can stand side by side:
  STACK=second HTTP_PORT=8081 ENV_FILE=second.env LOGS_PATH=/tmp/logs ./start.sh
TEXT
}

readonly OFFICIAL_IMAGE=python:3.11-slim-bookworm
readonly BOOTSTRAPPED_IMAGE=smlops/python:3.11-bookworm
readonly FIRST_INSTALL_GIB=6 LATER_GIB=1
readonly HEALTH_SECONDS=240
readonly SHIPPED_FUNCTIONS="train predict"
readonly IRIS_ROW="5.1, 3.5, 1.4, 0.2"

main() {
  local action=start
  INSTALL=yes
  while [ $# -gt 0 ]; do
    case $1 in
      --no-install) INSTALL=no ;;
      --stop) action=stop ;;
      -h | --help) usage; return 0 ;;
      *) usage >&2; return 2 ;;
    esac
    shift
  done

  cd "$(dirname "$(readlink -f "$0")")"
  read_settings
  open_log
  if [ "$action" = stop ]; then
    stop_all
    return 0
  fi

  phase "Engine"; find_engine; find_compose; adopt_project; check_engine_is_local
  phase "Checks"; check_bind_address; check_port; check_disk; check_memory
  phase "Base image"; choose_base_image; write_settings
  phase "Service images"; build_services
  phase "Services"; start_services; wait_for_health
  phase "Functions"; build_functions
  phase "Proof"; prove
  say_addresses
}

# --- saying -------------------------------------------------------------------------------------------------------

PHASE=0
phase() {
  PHASE=$((PHASE + 1))
  printf '%s[%d/7] %s%s (%d s)\n' "$BOLD" "$PHASE" "$1" "$PLAIN" "$SECONDS"
  printf '\n== %s\n' "$1" >>"$LOG"
}

say() {
  printf '      %s\n' "$*"
  printf '%s\n' "$*" >>"$LOG"
}

# fail SENTENCE [FILE]: the reason, the last lines of FILE when given, where to read on; then the end.
fail() {
  trap - ERR
  clear_progress
  printf '\n%sError:%s %s\n' "$BOLD" "$PLAIN" "$1" >&2
  if [ -n "${2:-}" ] && [ -s "$2" ]; then
    printf 'Last lines:\n' >&2
    tail -n 15 "$2" | printable | cut -c 1-400 | sed 's/^/  | /' >&2
  fi
  printf 'Error: %s\n' "$1" >>"$LOG"
  printf 'Full log: %s\n' "$LOG" >&2
  exit 1
}

printable() { LC_ALL=C sed -e 's/\x1b\[[0-?]*[@-~]//g' -e 's/[\x00-\x08\x0b-\x1f\x7f]//g'; }

unexpected() {
  tail -n 40 "$LOG" >"$WORK/tail" 2>/dev/null || true
  fail "start.sh stopped unexpectedly in line $1." "$WORK/tail"
}

interrupted() {
  clear_progress
  [ -z "${CHILD:-}" ] || kill "$CHILD" 2>/dev/null || true
  printf '\nInterrupted. Run ./start.sh again to go on where it stopped.\n' >&2
  exit 130
}

open_log() {
  BOLD='' PLAIN='' TTY=no
  if [ -t 1 ]; then BOLD=$'\033[1m' PLAIN=$'\033[0m' TTY=yes; fi
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  mkdir -p "$LOGS_PATH" 2>/dev/null || true
  # One at a time for each place of logs; the lock ends with the process, however it ends.
  if command -v flock >/dev/null && [ -r "$LOGS_PATH" ]; then
    exec 9<"$LOGS_PATH"
    if ! flock -n 9; then
      printf "Error: Another start.sh is at work for %s. Wait for it to end.\n" "$LOGS_PATH" >&2
      exit 1
    fi
  fi
  LOG=$LOGS_PATH/start.log
  if ! : 2>/dev/null >"$LOG"; then
    LOG=$(mktemp "${TMPDIR:-/tmp}/smlops-start.XXXXXX.log")
  fi
  printf '%s\n' "$(date -u +%FT%TZ) start.sh" >>"$LOG"
  trap 'unexpected $LINENO' ERR
  trap interrupted INT TERM
}

clear_progress() { if [ "$TTY" = yes ]; then printf '\r\033[K'; fi; }

# attempt LABEL COMMAND...: runs it with its output in the log and in $OUTPUT, showing its last line and the time it takes.
attempt() {
  local label=$1 began=$SECONDS shown=0 status=0 width
  shift
  OUTPUT=$WORK/output
  : >"$OUTPUT"
  width=$(tput cols 2>/dev/null || echo 100)
  "$@" >"$OUTPUT" 2>&1 9>&- &
  CHILD=$!
  while kill -0 "$CHILD" 2>/dev/null; do
    sleep 0.2
    if [ "$TTY" = yes ]; then
      printf '\r\033[K%s' "$(printf '      %s, %d s  %s' "$label" $((SECONDS - began)) \
        "$(tail -n 1 "$OUTPUT" | printable)" | cut -c "1-$((width - 1))")"
    elif [ $((SECONDS - began)) -ge $((shown + 15)) ]; then
      shown=$((SECONDS - began))
      printf '      %s, %d s so far: %s\n' "$label" "$shown" "$(tail -n 1 "$OUTPUT" | printable | cut -c 1-120)"
    fi
  done
  wait "$CHILD" || status=$?
  CHILD=
  clear_progress
  { printf '\n# %s\n' "$label"; printable <"$OUTPUT"; } >>"$LOG"
  if [ "$status" = 0 ]; then say "$label: done ($((SECONDS - began)) s)"; fi
  return "$status"
}

# run LABEL SENTENCE COMMAND...: like attempt, and the sentence is the end when the command fails.
run() {
  local label=$1 sentence=$2
  shift 2
  attempt "$label" "$@" || fail "$sentence" "$OUTPUT"
}

# --- settings -----------------------------------------------------------------------------------------------------

# setting NAME DEFAULT: the environment wins over the settings file, which wins over the default.
setting() {
  local value=${!1:-} settings=${ENV_FILE:-.env}
  if [ -z "$value" ] && [ -r "$settings" ]; then
    value=$(sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*//p" "$settings" | tail -n 1 |
      sed -e "s/^'\([^']*\)'.*/\1/;t" -e 's/^"\([^"]*\)".*/\1/;t' -e 's/[[:space:]]\{1,\}#.*//' -e 's/[[:space:]]*$//')
  fi
  printf '%s' "${value:-$2}"
}

read_settings() {
  FROM_ENVIRONMENT=()
  local name
  for name in STACK BIND_ADDRESS HTTP_PORT PUBLIC_HOSTS HTTP_USER HTTP_PASSWORD FUNCTIONS_PATH LOGS_PATH; do
    if [ -n "${!name:-}" ]; then FROM_ENVIRONMENT+=("$name=${!name}"); fi
  done
  ENV_FILE=${ENV_FILE:-.env}
  STACK=$(setting STACK smlops)
  BIND_ADDRESS=$(setting BIND_ADDRESS 127.0.0.1)
  HTTP_PORT=$(setting HTTP_PORT 80)
  HTTP_USER=$(setting HTTP_USER "")
  HTTP_PASSWORD=$(setting HTTP_PASSWORD "")
  FUNCTIONS_PATH=$(setting FUNCTIONS_PATH ./functions)
  LOGS_PATH=$(setting LOGS_PATH ./logs)
  PYTHON_IMAGE=$(setting PYTHON_IMAGE "")
  DOCKER_SOCKET=$(setting DOCKER_SOCKET "")
  export STACK BIND_ADDRESS HTTP_PORT HTTP_USER HTTP_PASSWORD FUNCTIONS_PATH LOGS_PATH
  if ! [[ $STACK =~ ^[a-z][a-z0-9-]{0,30}$ ]]; then
    printf "Error: STACK is '%s'; use up to 31 lower-case letters, digits and hyphens.\n" "$STACK" >&2
    exit 1
  fi
  if ! [[ $HTTP_PORT =~ ^[0-9]{1,5}$ ]] || [ "$HTTP_PORT" -lt 1 ] || [ "$HTTP_PORT" -gt 65535 ]; then
    printf "Error: HTTP_PORT is '%s'; use a number from 1 to 65535.\n" "$HTTP_PORT" >&2
    exit 1
  fi
}

# The file is the user's: created once, afterwards only a missing choice is added at its end.
write_settings() {
  local line name
  if [ ! -e "$ENV_FILE" ]; then
    (
      umask 077
      printf '# Settings of this stack, written by the first ./start.sh and yours from now on. See "Settings" in README.md.\n' \
        >"$ENV_FILE"
    )
    for line in ${FROM_ENVIRONMENT[@]+"${FROM_ENVIRONMENT[@]}"}; do remember "${line%%=*}" "${line#*=}"; done
  fi
  for name in PYTHON_IMAGE DOCKER_GID RUNNER_UID RUNNER_GID; do remember "$name" "${!name}"; done
  remember CALLBACK_SECRET "${CALLBACK_SECRET:-$(random_secret)}"
  if [ "$DOCKER_SOCKET" != /var/run/docker.sock ]; then remember DOCKER_SOCKET "$DOCKER_SOCKET"; fi
  remember COMPOSE_PROJECT_NAME "$PROJECT"
  say "Settings: $ENV_FILE"
}

# What callbacks are signed with; in the form that libraries for webhooks expect.
random_secret() { printf 'whsec_%s' "$(head -c 24 /dev/urandom | base64)"; }

remember() {
  local value=$2
  # Quoted, compose takes it as it is; a dollar sign would name a variable otherwise.
  if [[ $value == *[!A-Za-z0-9_.,:/@-]* ]]; then value="'$value'"; fi
  if ! grep -q "^[[:space:]]*$1[[:space:]]*=" "$ENV_FILE"; then printf '%s=%s\n' "$1" "$value" >>"$ENV_FILE"; fi
}

# --- engine -------------------------------------------------------------------------------------------------------

engine_answers() { docker version --format '{{.Server.Version}}' >"$WORK/engine" 2>"$WORK/engine.err" 9>&-; }

is_root() { [ "$(id -u)" = 0 ]; }

has_apt() { command -v apt-get >/dev/null && [ -f /etc/debian_version ]; }

find_engine() {
  if command -v docker >/dev/null && engine_answers; then
    use_engine
    return
  fi
  if [ -n "${DOCKER_HOST:-}" ] && [ "${DOCKER_HOST:-}" != unix:///var/run/docker.sock ]; then
    fail "DOCKER_HOST is $DOCKER_HOST, and no Docker Engine answers there. Start that engine, or unset DOCKER_HOST." \
      "$WORK/engine.err"
  fi
  if grep -qi 'permission denied' "$WORK/engine.err" 2>/dev/null; then
    fail "Docker is running, but $(id -un) may not use it. Run: sudo usermod -aG docker $(id -un), log in again, then ./start.sh. Or run: sudo ./start.sh"
  fi
  if ! is_root; then
    if command -v dockerd >/dev/null; then
      fail "The Docker Engine is not running. Start it with: sudo systemctl start docker. Or run: sudo ./start.sh"
    fi
    fail "Docker is not installed. Run: sudo ./start.sh (installs it on Debian and Ubuntu), or see https://docs.docker.com/engine/install/"
  fi
  check_disk_at /var/lib "$FIRST_INSTALL_GIB"
  if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then install_engine; fi
  start_engine
  use_engine
}

use_engine() { say "Docker Engine $(cat "$WORK/engine")"; }

install_engine() {
  has_apt || fail "Docker is not installed, and this is not Debian or Ubuntu. Install it as https://docs.docker.com/engine/install/ says, then run ./start.sh again."
  install_packages "the Docker Engine" docker.io iptables ca-certificates --if-known docker-cli
}

# install_packages WHAT PACKAGE... [--if-known PACKAGE...]
install_packages() {
  local what=$1 package known=no packages=()
  shift
  if [ "$INSTALL" = no ]; then
    fail "This machine lacks $what, and --no-install forbids installing it. Install these packages yourself: ${*//--if-known*/}"
  fi
  export DEBIAN_FRONTEND=noninteractive
  if [ -z "${APT_IS_FRESH:-}" ]; then
    attempt "Reading the list of packages" apt-get update -q || say "The package list could not be refreshed; going on with the old one."
    APT_IS_FRESH=yes
  fi
  for package in "$@"; do
    if [ "$package" = --if-known ]; then
      known=yes
    elif [ "$known" = no ] || apt-cache show "$package" >/dev/null 2>&1; then
      packages+=("$package")
    fi
  done
  if [ "${#packages[@]}" = 0 ]; then return; fi
  run "Installing $what (${packages[*]})" "Could not install ${packages[*]}." \
    apt-get install -y -q --no-install-recommends "${packages[@]}"
}

start_engine() {
  local engine_log=/var/log/smlops-dockerd.log
  command -v iptables >/dev/null || { has_apt && install_packages "iptables" iptables; }
  if [ -d /run/systemd/system ] && systemctl cat docker.service >/dev/null 2>&1; then
    attempt "Starting the Docker Engine" systemctl start docker || {
      journalctl -u docker -n 20 --no-pager >"$WORK/journal" 2>/dev/null || true
      fail "The Docker Engine does not start." "$WORK/journal"
    }
    engine_log=$WORK/journal
  else
    forget_dead_pids
    setsid nohup dockerd >"$engine_log" 2>&1 </dev/null 9>&- &
    CHILD=$!
    disown
  fi
  local began=$SECONDS
  until engine_answers; do
    if [ $((SECONDS - began)) -ge 60 ] || { [ -n "${CHILD:-}" ] && ! kill -0 "$CHILD" 2>/dev/null; }; then
      fail "The Docker Engine does not start." "$engine_log"
    fi
    sleep 0.3
  done
  CHILD=
  say "Started the Docker Engine ($((SECONDS - began)) s)"
}

# After a crash or a restored machine the files may name processes that are dead, or something else by now.
forget_dead_pids() {
  local file
  for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
    if [ -s "$file" ] && ! is_engine_process "$(cat "$file")"; then rm -f "$file"; fi
  done
}

# A killed process keeps its name until its parent has noticed; it is dead all the same.
is_engine_process() {
  local name=''
  if [ -r "/proc/$1/comm" ]; then read -r name <"/proc/$1/comm" || true; fi
  case $name in
    dockerd | containerd) ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null ;;
    *) return 1 ;;
  esac
}

find_compose() {
  if ! compose_is_there; then
    if is_root && has_apt; then
      install_packages "Docker Compose" --if-known docker-compose-v2
      compose_is_there || install_packages "Docker Compose" docker-compose
    fi
    compose_is_there || fail "Docker Compose is missing. Install the compose plugin: https://docs.docker.com/compose/install/"
  fi
  # Without buildx only the classic builder is left, and newer clients must be told.
  if ! docker buildx version >/dev/null 2>&1; then export DOCKER_BUILDKIT=0; fi
  say "Docker Compose: ${COMPOSE[*]}"
}

compose_is_there() {
  if docker compose version >/dev/null 2>&1; then
    COMPOSE=(docker compose)
  elif docker-compose version >/dev/null 2>&1; then
    COMPOSE=(docker-compose)
  else
    return 1
  fi
}

compose() { "${COMPOSE[@]}" --env-file "$ENV_FILE" -p "$PROJECT" -f docker-compose.yml "$@" 9>&-; }

# A stack started by hand carries the project name Compose gave it: keep to that name.
adopt_project() {
  PROJECT=$(docker ps -a --filter "label=smlops.stack=$STACK" --filter label=com.docker.compose.project \
    --format '{{.Label "com.docker.compose.project"}}' | sort -u | head -n 1)
  PROJECT=${PROJECT:-$STACK}
}

check_engine_is_local() {
  local endpoint=${DOCKER_HOST:-}
  if [ -z "$endpoint" ]; then
    endpoint=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || echo unix:///var/run/docker.sock)
  fi
  case $endpoint in
    unix://*) DOCKER_SOCKET=${DOCKER_SOCKET:-${endpoint#unix://}} ;;
    *) fail "The Docker Engine at $endpoint is on another machine. Run ./start.sh on that machine: functions/ and logs/ are mounted from where the engine runs." ;;
  esac
  export DOCKER_HOST=$endpoint DOCKER_SOCKET
}

# --- checks before anything is made -------------------------------------------------------------------------------

check_bind_address() {
  case $BIND_ADDRESS in
    127.* | localhost) ;;
    *)
      if [ -z "$HTTP_USER" ] || [ -z "$HTTP_PASSWORD" ]; then
        fail "BIND_ADDRESS is $BIND_ADDRESS, so others can reach this machine's functions: set HTTP_USER and HTTP_PASSWORD in $ENV_FILE as well."
      fi
      ;;
  esac
  if [ "$BIND_ADDRESS" = localhost ]; then BIND_ADDRESS=127.0.0.1; fi # the engine publishes on addresses only
  ADDRESS=$BIND_ADDRESS
  case $BIND_ADDRESS in 0.0.0.0) ADDRESS=127.0.0.1 ;; esac
}

# Also while our NGINX keeps failing and restarting, when the engine holds the port now and then.
our_port_is_published() {
  docker inspect --format '{{range .HostConfig.PortBindings}}{{range .}}{{.HostPort}} {{end}}{{end}}{{.State.Status}}' \
    "$STACK-nginx" 2>/dev/null | grep -Eq "^$HTTP_PORT (running|restarting)$"
}

check_port() {
  if our_port_is_published; then
    say "Port $HTTP_PORT: ours already"
  elif (: <"/dev/tcp/$ADDRESS/$HTTP_PORT") 2>/dev/null; then
    fail "Port $HTTP_PORT on $ADDRESS is taken by $(port_owner). Stop it, or choose another port: HTTP_PORT=8080 ./start.sh"
  else
    say "Port $HTTP_PORT: free"
  fi
}

port_owner() {
  local owner
  owner=$(docker ps --filter "publish=$HTTP_PORT" --format 'the container {{.Names}}' | head -n 1)
  if [ -z "$owner" ] && command -v ss >/dev/null; then
    owner=$(ss -Hltnp "sport = :$HTTP_PORT" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (process \2)/p' | head -n 1)
  fi
  printf '%s' "${owner:-another program}"
}

check_disk() {
  local root needed=$LATER_GIB
  root=$(docker info --format '{{.DockerRootDir}}')
  if [ -z "$(docker images -q "$STACK/runner")" ]; then needed=$FIRST_INSTALL_GIB; fi
  check_disk_at "$root" "$needed"
}

check_disk_at() {
  local path=$1 needed=$2 free
  while [ ! -d "$path" ] || [ ! -r "$path" ]; do
    if [ "$path" = / ]; then break; fi
    path=$(dirname "$path")
  done
  free=$(($(df -Pk "$path" | awk 'NR == 2 { print $4 }') / 1048576))
  if [ "$free" -lt "$needed" ]; then
    fail "Only $free GiB are free on the disk of $path, and images and data need $needed GiB. Free some space and run ./start.sh again."
  fi
  say "Disk: $free GiB free"
}

check_memory() {
  local total
  total=$(docker info --format '{{.MemTotal}}')
  if [ "$total" -lt 3500000000 ]; then
    say "Memory: the engine has $((total / 1048576)) MiB. 4 GiB are advised; training may run out of memory."
  fi
}

# --- the one base image -------------------------------------------------------------------------------------------

image_is_there() { docker image inspect "$1" >/dev/null 2>&1; }

choose_base_image() {
  if [ -n "$PYTHON_IMAGE" ] && [ "$PYTHON_IMAGE" != "$BOOTSTRAPPED_IMAGE" ]; then
    image_is_there "$PYTHON_IMAGE" || pull_image "$PYTHON_IMAGE" ||
      fail "The base image $PYTHON_IMAGE (PYTHON_IMAGE in $ENV_FILE) is neither here nor can it be pulled. Remove that line to let start.sh choose." "$OUTPUT"
  elif image_is_there "$BOOTSTRAPPED_IMAGE"; then
    PYTHON_IMAGE=$BOOTSTRAPPED_IMAGE
  elif image_is_there "$OFFICIAL_IMAGE" || { [ -z "$PYTHON_IMAGE" ] && pull_image "$OFFICIAL_IMAGE"; }; then
    PYTHON_IMAGE=$OFFICIAL_IMAGE
    if host_has_own_certificates; then trust_host_certificates "$OFFICIAL_IMAGE"; fi
  else
    bootstrap_image
  fi
  export PYTHON_IMAGE
  say "Base image: $PYTHON_IMAGE"
  read_identity
}

# Gives up after 15 s without an answer of the registry, after 10 minutes in any case.
pull_image() {
  attempt "Pulling $1" bounded_pull "$1" || {
    say "No registry answers for $1."
    return 1
  }
}

bounded_pull() {
  timeout 600 docker pull "$1" &
  local pull=$! tick
  for tick in $(seq 75); do
    if ! kill -0 "$pull" 2>/dev/null || grep -q 'Pulling from' "$OUTPUT"; then break; fi
    if [ "$tick" = 75 ]; then kill "$pull"; fi
    sleep 0.2
  done
  wait "$pull"
}

host_has_own_certificates() {
  local file
  for file in /usr/local/share/ca-certificates/*.crt /etc/pki/ca-trust/source/anchors/* /etc/ca-certificates/trust-source/anchors/*; do
    if [ -f "$file" ]; then return 0; fi
  done
  return 1
}

bootstrap_image() {
  if ! command -v mmdebstrap >/dev/null; then
    if ! { is_root && has_apt; }; then
      fail "No registry answers, so the base image must be made from Debian's packages, which needs mmdebstrap. Install it (as root on Debian or Ubuntu: apt-get install mmdebstrap), or load an image yourself: docker load, then PYTHON_IMAGE=<its name> ./start.sh"
    fi
    install_packages "mmdebstrap, to make the base image from Debian's packages" mmdebstrap debian-archive-keyring
  fi
  run "Making the base image from Debian's packages" "The base image could not be made from Debian's packages." bootstrap
  trust_host_certificates smlops/python:bootstrap
  docker rmi smlops/python:bootstrap >/dev/null
}

bootstrap() {
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg options=()
  if [ -f "$keyring" ]; then options+=("--keyring=$keyring"); fi
  mmdebstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates "${options[@]}" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    bookworm "$WORK/base.tar"
  docker import --change 'CMD ["python3"]' --change 'ENV LANG=C.UTF-8' "$WORK/base.tar" smlops/python:bootstrap
  rm -f "$WORK/base.tar"
}

# trust_host_certificates IMAGE: the same image, trusting whom this machine trusts (a company's proxy signs TLS itself).
trust_host_certificates() {
  local file context=$WORK/base
  mkdir -p "$context"
  : >"$context/host.crt"
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    if [ -s "$file" ]; then
      cp "$file" "$context/host.crt"
      break
    fi
  done
  cat >"$context/trust.py" <<'PYTHON'
"""Hands every certificate that only the host's bundle has to update-ca-certificates, so that it outlives later updates."""
import pathlib, re, subprocess
PATTERN = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
def certificates(path):
    text = pathlib.Path(path).read_text(errors="replace")
    return {"".join(found.split("-----")[2].split()): found for found in PATTERN.findall(text)}
known = certificates("/etc/ssl/certs/ca-certificates.crt")
for number, (body, pem) in enumerate(certificates("/tmp/trust/host.crt").items()):
    if body not in known:
        pathlib.Path(f"/usr/local/share/ca-certificates/host-{number}.crt").write_text(pem + "\n")
subprocess.run(["update-ca-certificates"], check=True)
PYTHON
  cat >"$context/Dockerfile" <<DOCKERFILE
FROM $1
COPY host.crt trust.py /tmp/trust/
RUN python3 /tmp/trust/trust.py && rm -rf /tmp/trust
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \\
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \\
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \\
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
LABEL smlops.base=$BOOTSTRAPPED_IMAGE
DOCKERFILE
  run "Adding this machine's certificates to the base image" "The base image could not be finished." \
    docker build -t "$BOOTSTRAPPED_IMAGE" "$context"
  PYTHON_IMAGE=$BOOTSTRAPPED_IMAGE
}

# Who the runner is: the person who starts it, so that the logs are theirs; and the group of the engine's socket as a
# container sees it, which differs from the host's view when the engine runs rootless.
read_identity() {
  local group
  group=$(docker run --rm --network none -v "$DOCKER_SOCKET:/docker.sock" "$PYTHON_IMAGE" stat -c %g /docker.sock 2>"$WORK/identity") ||
    fail "A first container could not be run." "$WORK/identity"
  DOCKER_GID=$(setting DOCKER_GID "$group")
  if [ "$DOCKER_GID" != "$group" ]; then
    say "DOCKER_GID is $DOCKER_GID in $ENV_FILE, but the engine's socket belongs to group $group: using $group."
    DOCKER_GID=$group
  fi
  RUNNER_UID=$(setting RUNNER_UID "$(own_id "${SUDO_UID:-$(id -u)}")")
  RUNNER_GID=$(setting RUNNER_GID "$(own_id "${SUDO_GID:-$(id -g)}")")
  export DOCKER_GID RUNNER_UID RUNNER_GID
}

own_id() { if [ "$1" = 0 ]; then echo 10001; else echo "$1"; fi; }

# --- services -----------------------------------------------------------------------------------------------------

build_services() {
  local service
  for service in runner mlflow nginx; do
    run "Building $service" "The image of $service could not be built." compose build "$service"
  done
}

# By the runner itself, which knows what they may be, and before a running one is replaced.
check_settings() {
  compose run --rm --no-deps -T --entrypoint python3 runner -c '
import sys
from function_runner.errors import SettingsError
from function_runner.settings import Settings
try:
    Settings.from_environment()
except SettingsError as error:
    sys.exit(error.detail)'
}

start_services() {
  run "Checking the settings" "The settings in $ENV_FILE or the environment cannot be used." check_settings
  run "Starting containers" "The services could not be started." compose up -d --no-build
  remove_replaced_images
}

# Service images that a newer build took the name from. The engine keeps any that something still uses.
remove_replaced_images() {
  local image
  for image in $(docker images -q --filter dangling=true --filter "label=smlops.stack=$STACK"); do
    docker rmi "$image" >/dev/null 2>&1 || true
  done
}

service_states() {
  docker ps -a --filter "label=com.docker.compose.project=$PROJECT" --filter "label=smlops.stack=$STACK" \
    --filter label=com.docker.compose.service --format '{{.Label "com.docker.compose.service"}}|{{.Status}}' | sort
}

wait_for_health() { attempt "Waiting for health" services_are_healthy || explain_unhealthy; }

# Writes down the service that keeps the others from being healthy, because its state may look better a moment later.
services_are_healthy() {
  local deadline=$((SECONDS + HEALTH_SECONDS)) states broken
  while [ "$SECONDS" -lt "$deadline" ]; do
    states=$(service_states | grep -v '^prepare|Exited (0)')
    broken=$(grep -E '\|(Exited|Restarting|Dead)|\(unhealthy\)' <<<"$states" | head -n 1)
    if [ -n "$broken" ]; then break; fi
    broken=$(grep -v '(healthy)' <<<"$states" | head -n 1)
    if [ -z "$broken" ]; then return 0; fi
    printf 'not healthy yet: %s\n' "$(grep -v '(healthy)' <<<"$states" | cut -d '|' -f 1 | tr '\n' ' ')"
    sleep 0.5
  done
  printf '%s\n' "$broken" >"$WORK/broken"
  return 1
}

explain_unhealthy() {
  local service state
  IFS='|' read -r service state <"$WORK/broken"
  docker logs --tail 20 "$STACK-$service" >"$WORK/service.log" 2>&1 || true
  fail "The service $service is not healthy: $state." "$WORK/service.log"
}

# --- functions and proof ------------------------------------------------------------------------------------------

# request METHOD PATH [BODY]: prints the answer's body, succeeds on 2xx. Plain bash: a bare machine has no curl.
request() {
  local method=$1 path=$2 body=${3:-} line status length
  length=$(printf '%s' "$body" | wc -c)
  {
    {
      printf '%s %s HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %s\r\n' "$method" "$path" "$length"
      if [ -n "$HTTP_USER" ]; then
        printf 'Authorization: Basic %s\r\n' "$(printf '%s:%s' "$HTTP_USER" "$HTTP_PASSWORD" | base64 -w 0)"
      fi
      printf '\r\n%s' "$body"
    } >&3
    read -r _ status _ <&3 || true
    while IFS= read -r line <&3 && [ "$line" != $'\r' ]; do :; done
    cat <&3
  } 3<>"/dev/tcp/$ADDRESS/$HTTP_PORT"
  [[ ${status:-} == 2* ]]
}

is_shipped_here() { [ -f "$FUNCTIONS_PATH/$1/Dockerfile" ]; }

build_functions() {
  local name
  for name in $SHIPPED_FUNCTIONS; do
    is_shipped_here "$name" || continue
    attempt "Building the function $name" build_function "$name" ||
      fail "The function $name could not be built: $(detail). Its build log is in $LOGS_PATH/builds/." "$(newest_build_log "$name")"
  done
}

# The answer comes when the image is built; until then the build log tells how far it is.
build_function() {
  local answer=$WORK/answer began=$WORK/began request status=0 file
  : >"$began"
  request POST "/functions/$1/build" >"$answer" &
  request=$!
  while kill -0 "$request" 2>/dev/null; do
    sleep 0.2
    file=$(newest_build_log "$1")
    if [ -r "$file" ] && [ "$file" -nt "$began" ]; then tail -n 1 "$file"; fi
  done
  wait "$request" || status=$?
  cat "$answer"
  return "$status"
}

# The sentence out of a problem document.
detail() {
  local text
  text=$(tr -d '\n' <"$OUTPUT" | sed -n 's/.*"detail": *"\(\([^"\\]\|\\.\)*\)".*/\1/p' | printable | cut -c 1-400)
  printf '%s' "${text:-no answer}"
}

newest_build_log() {
  local file newest=''
  for file in "$LOGS_PATH/builds/$1"-*.log; do
    if [ -f "$file" ] && { [ -z "$newest" ] || [ "$file" -nt "$newest" ]; }; then newest=$file; fi
  done
  printf '%s' "$newest"
}

prove() {
  if ! is_shipped_here train || ! is_shipped_here predict; then
    run "Asking whether everything is ready" "The system says that it is not ready." request GET /ready
    return
  fi
  if ! request GET /models/iris_model >/dev/null; then
    attempt "Training a first model" request POST /invoke '{"function": "train", "parameters": {}}' ||
      fail "The first training failed: $(detail)" "$OUTPUT"
  fi
  attempt "Predicting with it" request POST /invoke \
    "{\"function\": \"predict\", \"parameters\": {\"model_name\": \"iris_model\", \"model_version\": \"latest\", \"features\": [$IRIS_ROW]}}" ||
    fail "The first prediction failed: $(detail)" "$OUTPUT"
  say "An iris of [$IRIS_ROW] is $(tr -d '\n' <"$OUTPUT" | sed -n 's/.*"prediction": *\("[^"]*"\|[^,}]*\).*/\1/p')."
}

say_addresses() {
  local port=":$HTTP_PORT" host=localhost
  if [ "$HTTP_PORT" = 80 ]; then port=''; fi
  case $BIND_ADDRESS in 127.* | localhost | 0.0.0.0) ;; *) host=$BIND_ADDRESS ;; esac
  cat <<TEXT

${BOLD}Ready after $SECONDS s.${PLAIN}
  Dashboard   http://$host$port/
  MLflow      http://$host$port/mlflow/
  API         http://$host$port/docs
  Logs        ./check_recent_logs.sh        Stop   ./start.sh --stop
TEXT
}

# --- stop ---------------------------------------------------------------------------------------------------------

stop_all() {
  if ! command -v docker >/dev/null || ! engine_answers; then
    printf 'The Docker Engine is not running, so nothing of ours is.\n'
    return 0
  fi
  find_compose >/dev/null
  adopt_project
  # Started by hand with compose alone there is no such file; compose wants one all the same.
  if [ ! -e "$ENV_FILE" ]; then ENV_FILE=$WORK/no.env && : >"$ENV_FILE"; fi
  export PYTHON_IMAGE=${PYTHON_IMAGE:-$OFFICIAL_IMAGE}
  run "Stopping the services" "The services could not be stopped." stop_services
  remove_strays
  run "Removing containers and networks" "The containers could not be removed." compose down
  remove_strays
  printf 'Stopped. Models, records and logs are kept; ./start.sh brings everything back.\n'
}

# The runner first and with its own grace period: it lets running invocations finish, which need the others for it.
stop_services() {
  compose stop runner
  compose stop
}

remove_strays() {
  local strays
  strays=$(docker ps -aq --filter "label=smlops.stack=$STACK" --filter label=smlops.environment)
  # shellcheck disable=SC2086  # a list of ids
  if [ -n "$strays" ]; then docker rm -f $strays >/dev/null 2>&1 || true; fi
}

main "$@"
