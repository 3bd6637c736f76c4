#!/usr/bin/env bash
# Shows how the latest invocations ended: of one function, or of all. Reads files only: nothing needs to be running.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

USAGE="Usage: ./check_recent_logs.sh [function] [-n N]     the N newest logs (5), each with its last lines"
LAST_LINES=12

main() {
  local function='' count=''
  while [ $# -gt 0 ]; do
    case $1 in
      -n)
        count=${2:-}
        [[ $count =~ ^[1-9][0-9]{0,5}$ ]] || refuse "-n wants a number from 1."
        shift
        ;;
      -h | --help) printf '%s\n' "$USAGE"; return 0 ;;
      -*) refuse "There is no option $1." ;;
      *)
        [ -z "$function" ] || refuse "Give one function."
        function=$1
        ;;
    esac
    shift
  done
  logs=$(setting LOGS_PATH ./logs)
  functions=$(setting FUNCTIONS_PATH ./functions)

  case $function in
    */* | *..*) refuse "'$function' is not the name of a function: it may not contain '/' or '..'." ;;
  esac
  if [ -z "$function$count" ]; then
    printf '%s\n' "$USAGE"
    list_functions
  elif [ -z "$function" ]; then
    show_newest "$(names)" "${count:-5}"
  elif known_functions | grep -Fxq -- "$function"; then
    show_newest "$(names | of_function "$function")" "${count:-5}"
  else
    { printf 'There is no function named %s, and no log of one.\n' "$function"; list_functions; } | printable >&2
    return 1
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

for_reader() { if [ -t 1 ]; then printable; else cat; fi; }

# All container names that have a log, newest first, one per line.
names() {
  [ -d "$logs" ] || return 0
  find "$logs" -maxdepth 1 -type f -regextype posix-extended -regex '.*/[a-z][a-z0-9-]*-[0-9a-f]{12}\.log' \
    -printf '%T@ %f\n' | sort -rn | sed -e 's/^[^ ]* //' -e 's/\.log$//'
}

function_of() { sed 's/-[0-9a-f]\{12\}$//'; }

of_function() { NAME=$1 awk '{ name = $0; sub(/-[0-9a-f]+$/, "", name); if (name == ENVIRON["NAME"]) print }'; }

# Those with a log, and those with a folder.
known_functions() {
  {
    names | function_of
    if [ -d "$functions" ]; then
      find "$functions" -mindepth 2 -maxdepth 2 -name Dockerfile -printf '%h\n' | sed 's#.*/##'
    fi
  } | sort -u
}

list_functions() {
  local all function count newest
  all=$(names)
  while IFS= read -r function; do
    [ -n "$function" ] || continue
    count=$(of_function "$function" <<<"$all" | grep -c . || true)
    newest=$(of_function "$function" <<<"$all" | head -n 1 || true)
    printf '  %-20s %6d logs   %s\n' "$function" "$count" "${newest:+newest: $newest}"
  done < <(known_functions)
  if [ -z "$all" ]; then printf 'There are no logs in %s yet.\n' "$logs"; fi
}

# show_newest NAMES COUNT: oldest of them first, so that the newest stands right above the prompt.
show_newest() {
  local name
  if [ -z "$1" ]; then
    printf 'Nothing has been logged yet.\n'
    return
  fi
  while IFS= read -r name; do
    printf '==> %s  %s  %s\n' "$name" "$(date -r "$logs/$name.log" '+%F %T')" "$(outcome "$logs/$name.log")"
    tail -n "$LAST_LINES" -- "$logs/$name.log" | for_reader
    printf '\n'
  done < <(head -n "$2" <<<"$1" | tac)
}

# How it ended, out of its REPORT line.
outcome() {
  local report
  report=$(tail -n 3 -- "$1" | LC_ALL=C tr -d '\000' | grep -a '^REPORT RequestId: ' | tail -n 1 | LC_ALL=C tr -dc '[:print:]\t' || true)
  case $report in
    *Status:*) printf '%s\n' "$report" |
      sed 's/.*[[:space:]]Duration: \([0-9.]* ms\)[[:space:]]Billed.*Status: \([a-z_]*\).*/\2, \1/' ;;
    *) printf 'running, or ended without a report\n' ;;
  esac
}

main "$@"
