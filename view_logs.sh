#!/usr/bin/env bash
# Shows the log of one invocation's container, while it runs with -f. Reads files only: nothing needs to be running.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

USAGE="Usage: ./view_logs.sh <container-name> [-f]     -f follows a running invocation until its REPORT line"

main() {
  local name='' follow=no
  while [ $# -gt 0 ]; do
    case $1 in
      -f | --follow) follow=yes ;;
      -h | --help) printf '%s\n' "$USAGE"; return 0 ;;
      -*) refuse "There is no option $1." ;;
      *)
        [ -z "$name" ] || refuse "Give one container name."
        name=$1
        ;;
    esac
    shift
  done
  logs=$(setting LOGS_PATH ./logs)

  if [ -z "$name" ]; then
    { printf '%s\n' "$USAGE"; list_recent; } >&2
    return 2
  fi
  case $name in
    */* | *..*) refuse "'$name' is not a container name: it may not contain '/' or '..'." ;;
  esac
  name=${name%.log}
  file=$logs/$name.log
  if [ ! -f "$file" ] || [ -L "$file" ]; then
    { printf 'There is no log of a container named %s in %s.\n' "$name" "$logs"; list_closest "$name"; } | printable >&2
    return 1
  fi
  if [ "$follow" = yes ]; then
    follow_to_report
  elif [ -t 1 ]; then
    printable <"$file"
  else
    cat -- "$file"
  fi
}

refuse() {
  printf '%s\n%s\n' "$1" "$USAGE" | printable >&2
  exit 2
}

# setting NAME DEFAULT: the environment wins over the settings file, which wins over the default.
setting() {
  local value=${!1:-} settings=${ENV_FILE:-.env}
  if [ -z "$value" ] && [ -r "$settings" ]; then
    value=$(sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*//p" "$settings" | tail -n 1 |
      sed -e "s/^'\([^']*\)'.*/\1/;t" -e 's/^"\([^"]*\)".*/\1/;t' -e 's/[[:space:]]\{1,\}#.*//' -e 's/[[:space:]]*$//')
  fi
  printf '%s' "${value:-$2}"
}

# Without what would command a terminal: escape sequences, then every control byte; tabs, line ends and UTF-8 stay.
printable() {
  LC_ALL=C sed -u -e 's/\x1b\[[0-?]*[ -.\/]*[@-~]//g' -e 's/\x1b\][^\x07\x1b]*\(\x07\|\x1b\\\)//g' \
    -e 's/\xc2[\x80-\x9f]//g' -e 's/[\x00-\x08\x0b-\x1f\x7f]//g'
}

# Ends at the REPORT line of the newest invocation: a container may have served others before.
follow_to_report() {
  local show=(cat) newest
  newest=$(LC_ALL=C grep -an '^START RequestId: ' -- "$file" | tail -n 1 | cut -d : -f 1 || true)
  if [ -t 1 ]; then show=(printable); fi
  exec 3< <(exec tail -n +1 -f -- "$file")
  tail_pid=$!
  trap 'kill "$tail_pid" 2>/dev/null || true' EXIT
  trap 'exit 130' INT
  LC_ALL=C sed -u -e "1,$((${newest:-1} - 1))b" -e '/^REPORT RequestId: /q' <&3 | "${show[@]}"
}

# Newest first, one name per line.
names() {
  [ -d "$logs" ] || return 0
  find "$logs" -maxdepth 1 -type f -regextype posix-extended -regex '.*/[a-z][a-z0-9-]*-[0-9a-f]{12}\.log' \
    -printf '%T@ %f\n' | sort -rn | sed -e 's/^[^ ]* //' -e 's/\.log$//'
}

list_recent() {
  local recent
  recent=$(names | head -n 10 || true)
  if [ -z "$recent" ]; then
    printf 'There are no logs in %s yet.\n' "$logs"
  else
    printf 'The newest logs:\n'
    printf '%s\n' "$recent" | sed 's/^/  /'
  fi
}

# Those that begin most like NAME; the newest among equals.
list_closest() {
  local closest
  closest=$(names | NAME=$1 awk '{
      wanted = ENVIRON["NAME"]
      for (same = 0; same < length($0) && substr($0, same + 1, 1) == substr(wanted, same + 1, 1); same++);
      print same, NR, $0
    }' | sort -k1,1nr -k2,2n | head -n 5 | cut -d ' ' -f 3 || true)
  if [ -z "$closest" ]; then
    printf 'There are no logs there yet.\n'
  else
    printf 'The closest names:\n'
    printf '%s\n' "$closest" | sed 's/^/  /'
  fi
}

main "$@"
