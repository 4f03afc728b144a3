#!/usr/bin/env python3
"""Makes a fixture: a small database as a release of the server writes it, and what that release answers about it.

A fixed story is played to a server over REST, so that every kind of row is there. The server is killed in the middle of changes of four rooms,
the database is dumped, and a new server on it is asked for everything that its users may see; then it has to go on. Calls and answers are
written down beside the dump. The tests of later releases load the dump, open it, make the same calls and compare the answers
(chatcore-hyper/tests/wire/upgrades.rs).

    scripts/make-fixture.py SERVER ANNOUNCE sqlite              v0002
    scripts/make-fixture.py SERVER ANNOUNCE mysql://…/NEW_NAME  v0002   (MariaDB too; needs the programs mariadb and mariadb-dump)
    scripts/make-fixture.py SERVER ANNOUNCE mongodb://…/NEW_NAME?replicaSet=…  v0002

SERVER and ANNOUNCE are the release's examples `server` and `announce`. The database on a server is made, and dropped at the end.
"""

import base64
import calendar
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
# Of made-up people alone. Access tokens in the answers are signed with it.
SECRET = "a secret of the fixtures, which protects nobody"
PASSWORD = "correct horse"
UNLIMITED = [
    "logins-per-account", "logins-by-strangers", "logins-per-address", "registrations-per-address", "requests-per-address",
    # Of the release before: requests-per-user.
    "work-per-user",
]  # fmt: skip
# A spent refresh token may be repeated for so long.
GRACE_S = 30


def must(value, why):
    if not value:
        raise SystemExit(f"make-fixture: {why}")
    return value


# --- the server -----------------------------------------------------------------------------------------------------


class Server:
    def __init__(self, program, store, messages=None):
        arguments = [program, "--listen", "127.0.0.1:0", "--store", store, "--jwt-secret", SECRET]
        arguments += ["--messages", messages] if messages else []
        for limit in UNLIMITED:
            arguments += [f"--{limit}", "off"]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.port = int(must(re.search(r":(\d+)/", line), f"the server did not start: {line!r}").group(1))

    def end(self, how):
        """SIGTERM lets it write down what waits; SIGKILL does not."""
        self.process.send_signal(how)
        self.process.wait(30)

    def ask(self, method, path, body=None, token=None):
        """Status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, json.loads(text) if text else None

    def call(self, method, path, body=None, token=None):
        status, answer = self.ask(method, path, body, token)
        must(status < 300, f"{method} {path}: {status} {answer}")
        return answer

    def visit(self, token):
        """A socket, opened and closed: its user has been seen."""
        with socket.create_connection(("127.0.0.1", self.port), 20) as stream:
            key = base64.b64encode(os.urandom(16)).decode()
            stream.sendall(
                f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            )
            must(b"hello" in read_until(stream, b'"hello"'), "the socket did not say hello")
            stream.sendall(b"\x88\x82\0\0\0\0\x03\xe8")  # a close, 1000
            read_until(stream, b"\x88\x02")


def read_until(stream, end):
    got = b""
    while end not in got:
        more = stream.recv(4096)
        if not more:
            break
        got += more
    return got


def at_once(*calls):
    """Makes calls beside each other; the statuses."""
    statuses = [None] * len(calls)

    def run(index):
        statuses[index] = calls[index]()[0]

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


# --- the stores -----------------------------------------------------------------------------------------------------


class Sqlite:
    def __init__(self, folder, version):
        self.file = Path(folder, "chat.sqlite")
        self.url = f"sqlite:{self.file}"
        self.target = ROOT / "chatcore-sqlx/tests/fixtures" / version
        self.answers = "sqlite.answers.json"

    def dump(self):
        database = sqlite3.connect(self.file)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("VACUUM")
        check_rows(lambda query: [row[0] for row in database.execute(query)])
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        (self.target / "chat.sqlite").write_bytes(self.file.read_bytes())

    def drop(self):
        pass


class Sql:
    def __init__(self, url, version):
        self.url = url
        parts = urlsplit(url)
        self.name = parts.path.strip("/")
        self.login = ["--no-defaults", f"-h{parts.hostname}", f"-P{parts.port or 3306}", f"-u{parts.username}"]
        self.login += [f"-p{parts.password}"] if parts.password else []
        self.target = ROOT / "chatcore-sqlx/tests/fixtures" / version
        kind = "mariadb" if "MariaDB" in self.run("SELECT version()")[0] else "mysql"
        self.file, self.answers = f"{kind}.sql", f"{kind}.answers.json"
        self.run(f"CREATE DATABASE {self.name}")

    def run(self, query, name=None):
        command = ["mariadb", *self.login, "--batch", "--skip-column-names", "-e", query, *([name] if name else [])]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()

    def dump(self):
        check_rows(lambda query: self.run(query, self.name))
        options = ["--hex-blob", "--skip-comments", "--no-tablespaces", "--skip-lock-tables", "--skip-add-locks", "--skip-disable-keys"]
        options += ["--complete-insert", "--skip-extended-insert", "--order-by-primary", "--default-character-set=utf8mb4"]
        command = ["mariadb-dump", *self.login, *options, self.name]
        dump = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        # The first line forbids commands of the client, which no connection of a test has.
        (self.target / self.file).write_bytes(b"".join(line for line in dump.splitlines(True) if b"enable the sandbox" not in line))

    def drop(self):
        self.run(f"DROP DATABASE {self.name}")


class Mongo:
    """Speaks OP_MSG itself: Python's library knows no BSON."""

    def __init__(self, url, version):
        self.url = url
        parts = urlsplit(url)
        self.name = parts.path.strip("/")
        must(parse_qs(parts.query).get("replicaSet"), "the URL has to name the replica set")
        self.socket = socket.create_connection((parts.hostname, parts.port or 27017), 20)
        self.target = ROOT / "chatcore-mongo/tests/fixtures" / version
        self.answers = "answers.json"

    def run(self, command):
        body = bson({**command, "$db": self.name})
        self.socket.sendall(struct.pack("<iiiiI", 21 + len(body), 1, 0, 2013, 0) + b"\0" + body)
        size = struct.unpack("<i", self.exactly(4))[0]
        answer, _ = unbson(self.exactly(size - 4), 17)
        must(answer["ok"] == {"$numberDouble": "1.0"}, f"{command}: {answer}")
        return answer

    def exactly(self, count):
        got = b""
        while len(got) < count:
            got += must(self.socket.recv(count - len(got)), "the database hung up")
        return got

    def list(self, command):
        cursor = self.run(command)["cursor"]
        must(cursor["id"] == {"$numberLong": "0"}, "more than one batch")
        return cursor["firstBatch"]

    def dump(self):
        everything = {}
        for collection in sorted(self.list({"listCollections": 1}), key=lambda one: one["name"]):
            name = collection["name"]
            rows = self.list({"find": name, "batchSize": 10_000, "singleBatch": True})
            rows.sort(key=lambda row: json.dumps(row["_id"]))
            indexes = [index for index in self.list({"listIndexes": name}) if index["name"] != "_id_"]
            lines = [{"options": collection["options"], "indexes": indexes}, *rows]
            text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
            (self.target / f"{name}.json").write_text(text)
            everything[name] = rows
        check_documents(everything)

    def drop(self):
        self.run({"dropDatabase": 1})
        self.socket.close()


def bson(document):
    """Of what commands are made of."""
    out = b""
    for key, value in document.items():
        name = key.encode() + b"\0"
        if isinstance(value, bool):
            out += b"\x08" + name + bytes([value])
        elif isinstance(value, int):
            out += b"\x10" + name + struct.pack("<i", value)
        else:
            text = value.encode() + b"\0"
            out += b"\x02" + name + struct.pack("<i", len(text)) + text
    return struct.pack("<i", len(out) + 5) + out + b"\0"


def unbson(data, at, is_list=False):
    """A document as canonical extended JSON, and where it ends."""
    end = at + struct.unpack_from("<i", data, at)[0]
    at += 4
    out = {}
    while data[at]:
        kind = data[at]
        stop = data.index(b"\0", at + 1)
        key, at = data[at + 1 : stop].decode(), stop + 1
        if kind == 0x01:
            value, at = {"$numberDouble": repr(struct.unpack_from("<d", data, at)[0])}, at + 8
        elif kind == 0x02:
            size = struct.unpack_from("<i", data, at)[0]
            value, at = data[at + 4 : at + 3 + size].decode(), at + 4 + size
        elif kind in (0x03, 0x04):
            value, at = unbson(data, at, kind == 0x04)
        elif kind == 0x05:
            size, subtype = struct.unpack_from("<iB", data, at)
            content = base64.b64encode(data[at + 5 : at + 5 + size]).decode()
            value, at = {"$binary": {"base64": content, "subType": f"{subtype:02x}"}}, at + 5 + size
        elif kind == 0x07:
            value, at = {"$oid": data[at : at + 12].hex()}, at + 12
        elif kind == 0x08:
            value, at = bool(data[at]), at + 1
        elif kind == 0x09:
            value, at = {"$date": {"$numberLong": str(struct.unpack_from("<q", data, at)[0])}}, at + 8
        elif kind == 0x0A:
            value = None
        elif kind == 0x10:
            value, at = {"$numberInt": str(struct.unpack_from("<i", data, at)[0])}, at + 4
        elif kind == 0x11:
            increment, seconds = struct.unpack_from("<II", data, at)
            value, at = {"$timestamp": {"t": seconds, "i": increment}}, at + 8
        elif kind == 0x12:
            value, at = {"$numberLong": str(struct.unpack_from("<q", data, at)[0])}, at + 8
        else:
            raise SystemExit(f"make-fixture: BSON of kind {kind:#x} in {key}")
        out[key] = value
    return (list(out.values()) if is_list else out), end


# --- that every kind of row is there ----------------------------------------------------------------------------------

# By table: what each column has to show at least once.
KINDS = {
    "chat_users": {"last_seen IS NULL": [0, 1]},
    "chat_sessions": {"device IS NULL": [0, 1], "used IS NULL": [0, 1], "used_at IS NULL": [0, 1], "length(live)": [32, 64]},
    "chat_friendships": {"status": [0, 1, 2]},
    "chat_blocks": {"1": [1]},
    "chat_rooms": {"kind": [0, 1], "name IS NULL": [0, 1], "client_id IS NULL": [0, 1], "pair IS NULL": [0, 1]},
    "chat_members": {"role": [0, 1, 2], "joined_seq IS NULL": [0, 1], "read_seq IS NULL": [0, 1]},
    "chat_intents": {"kind": [6, 7, 8, 9], "subject IS NULL": [0, 1], "detail IS NULL": [0, 1], "body IS NULL": [0, 1]},
    "chat_heads": {"post_seq IS NULL": [0, 1], "post_at IS NULL": [0, 1]},
    "chat_keys": {"hex(owner) = '00000000000000000000000000000000'": [0, 1]},
    "chat_messages": {
        "kind": [0, 1], "sender IS NULL": [0, 1], "body IS NULL": [0, 1], "first_body IS NULL": [0, 1], "client_id IS NULL": [0, 1],
        "reply_to IS NULL": [0, 1], "edited_at IS NULL": [0, 1], "deleted": [0, 1], "countable": [0, 1],
    },
    "chat_events": {"kind": [2, 3, 4, 5, 6, 7, 8, 9], "target IS NULL": [0, 1], "body IS NULL": [0, 1]},
    "chat_edits": {"1": [1]},
    "chat_last_posts": {"1": [1]},
    "chat_reactions": {"1": [1]},
    "chat_migrations": {"1": [1]},
}  # fmt: skip


def check_rows(query):
    for table, columns in KINDS.items():
        for column, wanted in columns.items():
            found = {int(value) for value in query(f"SELECT DISTINCT {column} FROM {table}")}
            must(found >= set(wanted), f"{table}: of {column} there are {sorted(found)}, and {wanted} are wanted")


# By collection: fields that some document has and some has not, and the values of fields that some have.
SOMETIMES = {
    "chat_users": ["last_seen"],
    "chat_sessions": ["device", "used", "used_at"],
    "chat_pairs": ["friendship", "low_blocks", "high_blocks"],
    "chat_rooms": ["name", "client_id", "pair"],
    "chat_members": ["joined_seq", "read"],
    "chat_intents": [],
    "chat_log": ["sender", "open", "edits"],
    "chat_heads": ["post", "post_at"],
    "chat_reactions": [],
    "chat_schema": [],
}
VALUES = {
    ("chat_rooms", "kind"): [0, 1],
    ("chat_members", "role"): [0, 1, 2],
}


def check_documents(everything):
    must(set(everything) == set(SOMETIMES), f"collections are {sorted(everything)}")
    for name, rows in everything.items():
        must(rows, f"{name} is empty")
        for field in SOMETIMES[name]:
            must(len({field in row for row in rows}) == 2, f"{name}: {field} should be there and should be missing")
    for (name, field), wanted in VALUES.items():
        found = {int(row[field]["$numberInt"]) for row in everything[name]}
        must(found >= set(wanted), f"{name}: of {field} there are {sorted(found)}, and {wanted} are wanted")
    statuses = {int(row["friendship"]["status"]["$numberInt"]) for row in everything["chat_pairs"] if "friendship" in row}
    must(statuses == {0, 1, 2}, f"friendships are {statuses}")


# --- the story --------------------------------------------------------------------------------------------------------

NAMES = ["ada", "bob", "cyd", "dan", "eve", "fay", "gus"]
ODD = "Ünïcødé: 'quotes' \"double\" back\\slash %_ \t tab\n\nlines 👩‍👩‍👧 مرحبا  "


class Story:
    def __init__(self, server, announce, store):
        self.server, self.announce, self.store = server, announce, store
        self.ids, self.tokens, self.refresh, self.rooms, self.friends = {}, {}, {}, {}, {}

    def as_(self, name, method, path, body=None):
        return self.server.call(method, path, body, self.tokens[name])

    def log_in(self, name, password=PASSWORD, device=None):
        form = {"login": name, "password": password, **({"device": device} if device else {})}
        return self.server.call("POST", "/auth/login", form)

    def say(self, name, room, body, **more):
        return self.as_(name, "POST", f"/messages/{self.rooms[room]}", {"body": body, **more})["seq"]

    def on_message(self, name, method, room, seq, body=None, emoji=None):
        path = f"/messages/{self.rooms[room]}/{seq}" + (f"/reactions/{quote(emoji)}" if emoji else "")
        return self.as_(name, method, path, body)

    def group(self, room, owner, members, client_id=None):
        form = {"kind": "group", "name": room, "member_ids": [self.ids[name] for name in members]}
        form |= {"client_id": client_id} if client_id else {}
        self.rooms[room] = self.as_(owner, "POST", "/chat-rooms", form)["id"]

    def role(self, by, room, name, role):
        self.as_(by, "PUT", f"/chat-rooms/{self.rooms[room]}/members/{self.ids[name]}/role", {"role": role})

    def people(self):
        call = self.server.call
        for name in NAMES:
            form = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
            form |= {"display_name": "Ça va, Cyd? 🎈"} if name == "cyd" else {}
            self.ids[name] = call("POST", "/auth/register", form)["id"]
        # Sessions: with and without a device, refreshed twice, with a spare token, ended in each way.
        for name in NAMES[:-1]:
            first = self.log_in(name, device=f"{name}'s telephone" if name in ("ada", "bob") else None)
            self.tokens[name] = first["access_token"]
            self.refresh[name] = first["refresh_token"]
        spent = call("POST", "/auth/refresh", {"refresh_token": self.refresh["ada"]})
        self.refresh["ada before"] = self.refresh["ada"]
        self.refresh["ada"] = call("POST", "/auth/refresh", {"refresh_token": spent["refresh_token"]})["refresh_token"]
        self.spent_at = time.monotonic()
        two = [call("POST", "/auth/refresh", {"refresh_token": self.refresh["cyd"]}) for _ in range(2)]
        self.refresh["cyd"], self.refresh["cyd's other tab"] = (pair["refresh_token"] for pair in two)
        self.refresh["ada's tablet"] = self.log_in("ada@EXAMPLE.org", device="a tablet")["refresh_token"]
        self.refresh["bob's old"] = self.log_in("bob")["refresh_token"]
        ended = self.log_in("cyd", device="ended")
        sessions = self.as_("cyd", "GET", "/auth/sessions")["items"]
        session = next(one["id"] for one in sessions if one["device"] == "ended")
        self.as_("cyd", "DELETE", f"/auth/sessions/{session}")
        self.refresh["cyd's ended"] = ended["refresh_token"]
        call("POST", "/auth/logout", token=self.log_in("dan")["access_token"])
        form = {"current_password": PASSWORD, "new_password": "battery staple"}
        self.as_("bob", "PUT", "/auth/password", form)
        self.as_("ada", "PATCH", "/auth/me", {"display_name": "Ada Lovelace", "email": "Ada.Lovelace@Example.Org"})
        # Seen, all but those who never were.
        for name in ("ada", "bob"):
            self.server.visit(self.tokens[name])
            patience = time.monotonic() + 30
            while not self.as_("cyd", "GET", f"/users/{self.ids[name]}")["presence"]["last_seen"]:
                must(time.monotonic() < patience, f"{name} was not seen")
                time.sleep(0.1)

    def friendships(self):
        def ask(by, whom):
            return self.as_(by, "POST", "/friends/request", {"user_id": self.ids[whom]})["id"]

        def answer(by, friendship, status):
            self.as_(by, "PUT", f"/friends/{friendship}/status", {"status": status})

        answer("bob", ask("ada", "bob"), "accepted")
        ask("eve", "ada")
        ask("ada", "eve")  # crossed: accepted
        self.friends["pending"] = ask("ada", "cyd")
        answer("ada", ask("dan", "ada"), "rejected")
        self.as_("fay", "DELETE", f"/friends/{ask('fay', 'gus')}")
        answer("cyd", ask("eve", "cyd"), "accepted")
        self.as_("eve", "PUT", f"/users/{self.ids['cyd']}/block")  # ends it
        for by, whom in (("bob", "cyd"), ("cyd", "bob"), ("dan", "fay")):
            self.as_(by, "PUT", f"/users/{self.ids[whom]}/block")
        self.as_("dan", "DELETE", f"/users/{self.ids['fay']}/block")

    def talk(self):
        for room, whom in (("direct", "bob"), ("blocked", "fay"), ("silent", "gus")):
            self.rooms[room] = self.as_("ada", "POST", "/chat-rooms", {"kind": "direct", "user_id": self.ids[whom]})["id"]
        self.say("ada", "direct", "Hello, Bob", client_id="hello")
        self.say("bob", "direct", "Hello, Ada", reply_to=3)
        self.say("ada", "blocked", "Hello, Fay")
        self.as_("ada", "PUT", f"/users/{self.ids['fay']}/block")
        # A group in which everything happens.
        room = "Engines"
        self.group(room, "ada", ["bob", "cyd"], client_id="the engines")
        path = f"/chat-rooms/{self.rooms[room]}"
        self.as_("ada", "POST", f"{path}/members", {"user_ids": [self.ids[name] for name in ("dan", "eve", "gus")]})
        self.role("ada", room, "bob", "admin")
        self.role("ada", room, "eve", "owner")
        first = self.say("ada", room, "It can do whatever we know how to order it to perform", client_id="first")
        odd = self.say("cyd", room, ODD, client_id="odd !~", reply_to=first)
        for body in ("edited once", "edited twice"):
            self.on_message("cyd", "PATCH", room, odd, {"body": body})
        gone = self.say("dan", room, "to be edited and deleted", client_id="gone")
        self.on_message("dan", "PATCH", room, gone, {"body": "edited, to be deleted"})
        self.on_message("ada", "PUT", room, gone, emoji="👍")
        self.on_message("bob", "DELETE", room, gone)  # by an admin
        own = self.say("bob", room, "deleted by its sender")
        self.on_message("bob", "DELETE", room, own)
        self.say("eve", room, "a reply to what is gone", reply_to=gone)
        for name, emoji in (("ada", "🎉"), ("bob", "👍"), ("cyd", "👍"), ("dan", "👩‍👩‍👧"), ("eve", "👍"), ("ada", "❤️")):
            self.on_message(name, "PUT", room, first, emoji=emoji)
        self.on_message("eve", "DELETE", room, first, emoji="👍")
        self.on_message("ada", "DELETE", room, first, emoji="❤️")
        self.as_("eve", "PATCH", path, {"name": "Analytical Engines ⚙"})
        subprocess.run([self.announce, self.store.url, self.rooms[room], "The server moves to another engine"], check=True)
        self.as_("dan", "DELETE", f"{path}/members/{self.ids['dan']}")  # leaves
        self.as_("ada", "DELETE", f"{path}/members/{self.ids['gus']}")  # is removed
        self.as_("ada", "POST", f"{path}/members", {"user_ids": [self.ids["dan"]]})  # and comes back
        for number in range(12):
            self.say(("ada", "bob", "cyd")[number % 3], room, f"number {number}")
        self.role("ada", room, "bob", "member")
        for name, seq in (("eve", odd), ("dan", 38)):
            self.as_(name, "PUT", f"{path}/read", {"seq": seq})
        # Groups that wait for a change which is cut off, and one of somebody alone.
        for room in ("to add to", "to remove from", "to give a role in", "to rename"):
            self.group(room, "ada", ["bob", "eve"])
            self.say("eve", room, "before")
        self.group("alone", "cyd", [])

    def cut_off(self, program, folder):
        """Changes whose first half is stored, and whose second half cannot be: the logs are elsewhere, and locked."""
        logs = Path(folder, "logs.sqlite")
        self.server = Server(program, self.store.url, f"sqlite:{logs}")
        lock = sqlite3.connect(logs, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")

        def change(method, path, body=None):
            return lambda: self.server.ask(method, path, body, self.tokens["ada"])

        def room(name):
            return f"/chat-rooms/{self.rooms[name]}"

        statuses = at_once(
            change("POST", f"{room('to add to')}/members", {"user_ids": [self.ids["cyd"], self.ids["dan"]]}),
            change("DELETE", f"{room('to remove from')}/members/{self.ids['bob']}"),
            change("PUT", f"{room('to give a role in')}/members/{self.ids['bob']}/role", {"role": "admin"}),
            change("PATCH", room("to rename"), {"name": "renamed"}),
            change("POST", "/chat-rooms", {"kind": "group", "name": "half made", "client_id": "half", "member_ids": [self.ids["bob"]]}),
        )
        self.cut = {"to add to": 6, "to remove from": 5, "to give a role in": 5, "to rename": 5, "half made": 2}
        must(statuses == [503] * 5, f"the changes were not cut off: {statuses}")
        self.server.end(signal.SIGKILL)
        lock.close()


    def finished(self):
        """Waits until the server has finished by itself what was cut off."""
        patience = time.monotonic() + 60
        names = {room: name for name, room in self.rooms.items()}
        while True:
            rooms = self.as_("ada", "GET", "/chat-rooms?limit=100")["items"]
            heads = {names.get(room["id"], room["name"]): room["head"] for room in rooms}
            if {name: heads.get(name) for name in self.cut} == self.cut:
                return
            must(time.monotonic() < patience, f"what was cut off is not finished: {heads}")
            time.sleep(0.1)


# --- the answers ------------------------------------------------------------------------------------------------------


class Recorder:
    """Makes calls and writes down how they are answered."""

    def __init__(self, story):
        self.story, self.calls = story, []
        time.sleep(0.01)
        self.now = int(time.time() * 1000)

    def call(self, who, method, path, body=None):
        status, answer = self.story.server.ask(method, path, body, who and self.story.tokens[who])
        must(status < 500, f"{method} {path}: {status} {answer}")
        # What is for people alone may be reworded.
        told = {"code": answer["code"], "errors": [{"field": e["field"], "code": e["code"]} for e in answer["errors"]]} if status >= 400 else answer
        self.calls.append({"as": who, "method": method, "path": path, "body": body, "status": status, "answer": self.mask(told)})
        return answer

    def mask(self, value, key=None):
        """What is made after the dump differs each time."""
        if isinstance(value, dict):
            return {key: self.mask(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.mask(inner) for inner in value]
        if key in ("access_token", "refresh_token"):
            return "token"
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value):
            moment = time.strptime(value[:19], "%Y-%m-%dT%H:%M:%S")
            return "later" if calendar.timegm(moment) * 1000 + int(value[20:23]) >= self.now else value
        if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", value):
            return "new" if uuid.UUID(value).int >> 80 >= self.now else value
        return value

    def look(self):
        """Everything that is there, seen by those who may and by some who may not."""
        story = self.story
        for who in ("ada", "bob", "cyd", "dan", "eve", "fay"):
            for path in ("/auth/me", "/auth/sessions", "/friends", "/friends/requests", "/friends/requests?direction=outgoing", "/users/blocked"):
                self.call(who, "GET", path)
            for room in self.call(who, "GET", "/chat-rooms?limit=100")["items"]:
                self.call(who, "GET", f"/messages/{room['id']}?limit=100")
        for name in NAMES:
            self.call("ada", "GET", f"/users/{story.ids[name]}")
            self.call("cyd", "GET", f"/users/{story.ids[name]}")
        self.call("bob", "GET", f"/users?ids={','.join(story.ids.values())}")
        for prefix in ("ad", "ada lo", "ça va", "ev"):
            self.call("bob", "GET", f"/users?q={quote(prefix)}")
        for room in [*story.rooms.values(), *self.others()]:
            for path in ("", "/members", "/events?limit=100"):
                self.call("ada", "GET", f"/chat-rooms/{room}{path}")
            self.call("fay", "GET", f"/chat-rooms/{room}/events?after=2&limit=3")
        engines = story.rooms["Engines"]
        for query in ("limit=5", "before=20&limit=4", "after=20&limit=4", "around=14&limit=5"):
            self.call("eve", "GET", f"/messages/{engines}?{query}")
        self.call("eve", "GET", f"/chat-rooms/{engines}/events?before=20&limit=5")
        self.call("eve", "GET", f"/ws/rooms/{engines}/status")
        for seq in (1, 9, 10, 13, 17, 29):  # no message, many reactions, edited, deleted, deleted, the host's
            self.call("cyd", "GET", f"/messages/{engines}/{seq}")
        first = next(one["seq"] for one in story.as_("ada", "GET", f"/messages/{engines}?limit=100")["items"])
        for emoji in ("🎉", "👍", "👩‍👩‍👧", "❤️"):
            self.call("dan", "GET", f"/messages/{engines}/{first}/reactions/{quote(emoji)}")

    def others(self):
        """Rooms that are there without a call that succeeded."""
        rooms = self.story.as_("ada", "GET", "/chat-rooms?limit=100")["items"]
        return [room["id"] for room in rooms if room["id"] not in self.story.rooms.values()]

    def go_on(self):
        story, ids = self.story, self.story.ids
        engines, direct = story.rooms["Engines"], story.rooms["direct"]
        # What was done is known.
        repeat = {"body": "not the body of the first attempt", "client_id": "first"}
        self.call("ada", "POST", f"/messages/{engines}", repeat)
        self.call("dan", "POST", f"/messages/{engines}", {"body": "again", "client_id": "gone"})
        self.call("ada", "POST", "/chat-rooms", {"kind": "group", "name": "other", "member_ids": [], "client_id": "the engines"})
        self.call("ada", "POST", "/chat-rooms", {"kind": "group", "name": "half made", "member_ids": [ids["bob"]], "client_id": "half"})
        self.call("bob", "POST", "/chat-rooms", {"kind": "direct", "user_id": ids["ada"]})
        taken = {"username": "gus", "email": "ada.LOVELACE@example.org", "password": PASSWORD}
        self.call(None, "POST", "/auth/register", taken)
        # Logs, messages and rooms go on.
        head = self.call("ada", "POST", f"/messages/{engines}", {"body": "and on", "client_id": "next"})["seq"]
        self.call("ada", "POST", f"/messages/{engines}", {"body": "and on", "client_id": "next"})
        self.call("cyd", "PATCH", f"/messages/{engines}/{head}", {"body": "not hers"})
        self.call("ada", "PATCH", f"/messages/{engines}/{head}", {"body": "and on, changed"})
        self.call("cyd", "PUT", f"/messages/{engines}/{head}/reactions/{quote('👍')}")
        self.call("eve", "DELETE", f"/messages/{engines}/{head}")
        self.call("eve", "PUT", f"/chat-rooms/{engines}/read", {"seq": head})
        self.call("ada", "POST", f"/messages/{story.rooms['blocked']}", {"body": "blocked"})
        self.call("fay", "POST", f"/messages/{engines}", {"body": "not a member"})
        self.call("bob", "POST", f"/messages/{direct}", {"body": "still here", "reply_to": 3})
        self.call("ada", "DELETE", f"/chat-rooms/{engines}/members/{ids['dan']}")
        self.call("dan", "GET", f"/chat-rooms/{engines}")
        for room in (engines, direct):
            self.call("ada", "GET", f"/chat-rooms/{room}/events?after=40&limit=100")
            self.call("ada", "GET", f"/messages/{room}?limit=3")
        self.call("bob", "GET", "/chat-rooms?limit=100")
        # So do people.
        self.call("cyd", "PUT", f"/friends/{story.friends['pending']}/status", {"status": "accepted"})
        self.call("cyd", "DELETE", f"/friends/{story.friends['pending']}")
        self.call("ada", "DELETE", f"/users/{ids['fay']}/block")
        self.call("ada", "GET", "/users/blocked")
        # So do logins and sessions.
        for login, password in (
            ("bob", "battery staple"), ("bob", PASSWORD), ("ADA.lovelace@example.org", PASSWORD), ("ada@example.org", PASSWORD), ("gus", PASSWORD),
        ):  # fmt: skip
            self.call(None, "POST", "/auth/login", {"login": login, "password": password})
        spent = ["ada before", "ada"]  # the first ends the session, and with it the second
        for name in ("eve", "cyd", "cyd's other tab", "ada's tablet", "bob's old", "cyd's ended", *spent):
            self.call(None, "POST", "/auth/refresh", {"refresh_token": story.refresh[name]})
        self.call("ada", "GET", "/auth/me")
        self.call("bob", "GET", "/auth/sessions")

    def write(self, file):
        head = {"now": self.now, "secret": SECRET, "tokens": self.story.tokens}
        lines = [json.dumps(head, ensure_ascii=False), *(json.dumps(call, ensure_ascii=False, separators=(",", ":")) for call in self.calls)]
        file.write_text("\n".join(lines) + "\n")


def main():
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    program, announce, url, version = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        kind = url.split(":")[0]
        store = Sqlite(folder, version) if kind == "sqlite" else Mongo(url, version) if kind == "mongodb" else Sql(url, version)
        store.target.mkdir(parents=True, exist_ok=True)
        story = None
        try:
            story = Story(Server(program, store.url), announce, store)
            story.people()
            story.friendships()
            story.talk()
            story.server.end(signal.SIGTERM)
            story.cut_off(program, folder)
            store.dump()
            time.sleep(max(0, GRACE_S + 2 - (time.monotonic() - story.spent_at)))
            story.server = Server(program, store.url)
            story.finished()
            recorder = Recorder(story)
            recorder.look()
            recorder.go_on()
            story.server.end(signal.SIGTERM)
            recorder.write(store.target / store.answers)
        finally:
            if story and story.server.process.poll() is None:
                story.server.end(signal.SIGKILL)
            store.drop()
    print(f"{store.target}: done")


if __name__ == "__main__":
    main()
