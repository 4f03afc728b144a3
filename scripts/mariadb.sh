#!/usr/bin/env bash
# A MariaDB server for the tests, in a private folder and on a private port; nothing of the machine's own server is touched.
#   scripts/mariadb.sh start DIR PORT   makes DIR when it is new, starts, and prints the URL
#   scripts/mariadb.sh stop DIR         stops it; the data stays
#   scripts/mariadb.sh kill DIR         the same with SIGKILL
# MARIADBD names a server that is not in PATH; MARIADBD_EXTRA is given to it, last.
set -euo pipefail

die() {
  printf 'mariadb.sh: %s\n' "$*" >&2
  exit 1
}

[[ $# -ge 2 ]] || die 'usage: mariadb.sh start DIR PORT | stop DIR | kill DIR'
action=$1 dir=$(realpath -m "$2") port=${3:-}
server=${MARIADBD:-$(command -v mariadbd || echo /usr/sbin/mariadbd)}
user=$(id -un)

# Whether the process of that number is the server of this folder, and not one that has got its number since.
ours() { grep -qzxF -- "--datadir=$dir/data" "/proc/$1/cmdline" 2>/dev/null; }
running() {
  local pid
  pid=$(cat "$dir/pid" 2>/dev/null) && [[ -n $pid ]] && ours "$pid" && printf '%s\n' "$pid"
}

start() {
  [[ -n $port ]] || die 'start needs a port'
  [[ -x $server ]] || die 'there is no mariadbd'
  [[ ${#dir} -le 90 ]] || die "$dir is too long for the path of a socket"
  if [[ -z $(running || true) ]]; then
    mkdir -p "$dir/tmp"
    # An initialisation that was cut short is begun again.
    [[ ! -e $dir/initialising ]] || rm -rf "$dir/data"
    if [[ ! -d $dir/data ]]; then
      : >"$dir/initialising"
      mariadb-install-db --no-defaults --user="$user" --datadir="$dir/data" --auth-root-authentication-method=normal \
        --skip-test-db >"$dir/init.log" 2>&1 || die "it could not be set up: $dir/init.log"
      rm "$dir/initialising"
    fi
    # shellcheck disable=SC2086
    setsid "$server" --no-defaults --user="$user" --datadir="$dir/data" --tmpdir="$dir/tmp" --socket="$dir/sock" \
      --bind-address=127.0.0.1 --port="$port" --max-connections=500 --skip-name-resolve \
      ${MARIADBD_EXTRA:-} </dev/null >"$dir/log" 2>&1 &
    local pid=$!
    printf '%s\n' "$pid" >"$dir/pid"
    for _ in $(seq 600); do
      kill -0 "$pid" 2>/dev/null || die "it ended: $dir/log"
      if mariadb-admin --no-defaults -uroot --socket="$dir/sock" ping >/dev/null 2>&1; then break; fi
      sleep 0.1
    done
    mariadb-admin --no-defaults -uroot --socket="$dir/sock" ping >/dev/null 2>&1 || die "it is not ready after 60 s: $dir/log"
  fi
  printf 'mysql://root@127.0.0.1:%s\n' "$port"
}

stop() {
  local pid
  pid=$(running || true)
  [[ -n $pid ]] || return 0
  kill -"$1" "$pid"
  for _ in $(seq 600); do
    ours "$pid" || return 0
    sleep 0.1
  done
  die "process $pid is there after 60 s"
}

case $action in
  start) start ;;
  stop) stop TERM ;;
  kill) stop KILL ;;
  *) die "there is no action $action" ;;
esac
