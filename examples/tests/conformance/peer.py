"""A WebSocket client that can do what clients must not: raw frames over a plain socket, and no WebSocket library.

It holds the server to RFC 6455 with everything that it reads, whatever a case is about.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import random
import socket
import time
from collections.abc import Iterable
from typing import Any

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# Long enough for a slow machine; only a failure takes so long.
PATIENCE = 10.0


class Failed(Exception):
    """The server breaks RFC 6455 or its own protocol."""


class NonStrict(Exception):
    """Allowed, but not the best that a server can do."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """What came from the server."""

    opcode: int
    payload: bytes

    def json(self) -> Any:
        return json.loads(self.payload)

    def __str__(self) -> str:
        names = {TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong"}
        if self.opcode == CLOSE and len(self.payload) >= 2:
            return f"close {close_code(self)} {self.payload[2:80]!r}"
        return f"{names.get(self.opcode, self.opcode)} {self.payload[:80]!r}"


def close_code(frame: Frame) -> int | None:
    """The code of a close frame; None where it has none."""
    return int.from_bytes(frame.payload[:2], "big") if len(frame.payload) >= 2 else None


def length_bytes(length: int, form: int | None = None) -> tuple[int, bytes]:
    """How a length is written: in the shortest form, or in that of 7, 16 or 64 bits."""
    form = form or (7 if length < 126 else 16 if length < 65536 else 64)
    if form == 7:
        return length, b""
    return (126, length.to_bytes(2, "big")) if form == 16 else (127, length.to_bytes(8, "big"))


def encode(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = b"\x12\x34\x56\x78",
    length: int | None = None,
    form: int | None = None,
) -> bytes:
    """A frame of a client. `key` None leaves the mask out; `length` claims another length than the payload has."""
    short, extended = length_bytes(len(payload) if length is None else length, form)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, (0x80 if key is not None else 0) | short]) + extended
    if key is None:
        return head + payload
    stream = (key * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return head + key + masked.to_bytes(len(payload), "big")


@dataclasses.dataclass
class Answer:
    """What the server says to a handshake."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        if len(values) > 1:
            raise Failed(f"{name} stands in the answer {len(values)} times")
        return values[0] if values else None


class Peer:
    """One connection to the server."""

    def __init__(self, address: tuple[str, int], token: str, seed: str) -> None:
        self.token = token
        self.random = random.Random(seed)
        self.host = f"{address[0]}:{address[1]}"
        self.key = base64.b64encode(self.random.randbytes(16)).decode()
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.reset = False
        self.fragments: list[bytes] = []

    def end(self) -> None:
        self.socket.close()

    # --- the handshake

    def headers(self) -> list[tuple[str, str]]:
        """Those of a good handshake."""
        return [
            ("Host", self.host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self.key),
            ("Sec-WebSocket-Version", "13"),
            ("Authorization", f"Bearer {self.token}"),
        ]

    def request(self, headers: Iterable[tuple[str, str]], line: str = "GET /ws HTTP/1.1") -> Answer:
        """Sends a request, and reads the answer to it."""
        self.send_raw(self.head(headers, line))
        return self.read_answer()

    def head(self, headers: Iterable[tuple[str, str]], line: str = "GET /ws HTTP/1.1") -> bytes:
        text = "".join(f"{part}\r\n" for part in [line, *(f"{name}: {value}" for name, value in headers)])
        return text.encode("latin-1") + b"\r\n"

    def read_answer(self) -> Answer:
        """The answer to a handshake that has been sent."""
        deadline = time.monotonic() + PATIENCE
        while b"\r\n\r\n" not in self.buffer:
            if not self.fill(deadline):
                raise Failed(f"the connection ended where the answer to the handshake should be: {self.buffer[:100]!r}")
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = [part.split(":", 1) for part in lines]
        answer = Answer(int(status.split(" ")[1]), [(name.lower(), value.strip()) for name, value in pairs])
        size = int(answer.one("content-length") or 0)
        if answer.status != 101:
            while len(self.buffer) < size and self.fill(deadline):
                pass
            answer.body, self.buffer = self.buffer[:size], self.buffer[size:]
        return answer

    def open(self, extra: Iterable[tuple[str, str]] = (), line: str = "GET /ws HTTP/1.1") -> Answer:
        """A handshake that has to succeed, up to `hello`."""
        answer = self.request([*self.headers(), *extra], line)
        self.check_accepted(answer)
        self.expect_hello()
        return answer

    def check_accepted(self, answer: Answer) -> None:
        """What RFC 6455 §4.1 makes a client look at."""
        if answer.status != 101:
            raise Failed(f"the handshake is answered with {answer.status}: {answer.body[:200]!r}")
        accept = base64.b64encode(hashlib.sha1(self.key.encode() + GUID).digest()).decode()
        for name, wanted in (("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-accept", accept)):
            value = answer.one(name) or ""
            good = value == wanted if name == "sec-websocket-accept" else value.lower() == wanted
            if not good:
                raise Failed(f"{name} of the answer is {value!r}, not {wanted!r}")
        if answer.all("sec-websocket-extensions"):
            raise Failed(f"an extension is accepted: {answer.all('sec-websocket-extensions')}")

    def expect_hello(self) -> None:
        frame = self.next()
        if frame is None or frame.opcode != TEXT or frame.json()["type"] != "hello":
            raise Failed(f"the first frame is not hello but {frame}")

    # --- sending

    def send_raw(self, data: bytes, chop: int | None = None) -> None:
        """Sends bytes, in pieces of that size. A connection that the server has ended is for the reading to find."""
        try:
            for start in range(0, len(data), chop or max(len(data), 1)):
                self.socket.sendall(data[start : start + (chop or len(data))])
        except (BrokenPipeError, ConnectionResetError):
            pass

    def send(
        self,
        opcode: int,
        payload: bytes = b"",
        *,
        fin: bool = True,
        rsv: int = 0,
        chop: int | None = None,
    ) -> None:
        key = self.random.randbytes(4)
        self.send_raw(encode(opcode, payload, fin=fin, rsv=rsv, key=key), chop)

    def send_fragments(self, opcode: int, parts: list[bytes], chop: int | None = None) -> None:
        """A message in fragments."""
        for index, part in enumerate(parts):
            self.send(opcode if index == 0 else CONTINUATION, part, fin=index == len(parts) - 1, chop=chop)

    def send_close(self, code: int | None = 1000, reason: bytes = b"") -> None:
        self.send(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)

    # --- reading

    def fill(self, deadline: float) -> bool:
        """Reads some more; False at the end of the connection."""
        self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            self.reset = True
            return False
        except TimeoutError:
            raise Failed("the server says nothing more, and leaves the connection open") from None
        self.buffer += data
        return bool(data)

    def take(self, count: int, deadline: float) -> bytes | None:
        while len(self.buffer) < count:
            if not self.fill(deadline):
                return None
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_frame(self, deadline: float) -> Frame | None:
        """The next frame, which has to be one that a server may send; None at the end of the connection."""
        head = self.take(2, deadline)
        if head is None:
            return None
        fin, rsv, opcode = head[0] >> 7, head[0] >> 4 & 7, head[0] & 15
        masked, length = head[1] >> 7, head[1] & 127
        if rsv or masked or opcode not in (TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION):
            raise Failed(f"no server may send a frame that begins with {head.hex()}")
        if length >= 126:
            size = 2 if length == 126 else 8
            extended = self.take(size, deadline) or b""
            length = int.from_bytes(extended, "big")
            if length < (126 if size == 2 else 65536):
                raise Failed(f"a length of {length} is not written in its shortest form")
        if opcode >= 8 and (length > 125 or not fin):
            raise Failed(f"a control frame is fragmented or too long ({length})")
        payload = self.take(length, deadline)
        if payload is None:
            raise Failed("the connection ended within a frame")
        if not fin or opcode == CONTINUATION:
            raise Failed("the server fragments, which this protocol never needs")
        return Frame(opcode, payload)

    def next(self, patience: float = PATIENCE) -> Frame | None:
        """The next frame that is not a signal. Text has to be UTF-8 and an object of this protocol."""
        deadline = time.monotonic() + patience
        while True:
            frame = self.read_frame(deadline)
            if frame is None or frame.opcode != TEXT:
                return frame
            try:
                kind = frame.json()["type"]
            except (ValueError, KeyError, TypeError):
                raise Failed(f"not a frame of the protocol: {frame}") from None
            if kind != "signal":
                return frame

    def quiet(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return True
        except ConnectionResetError:
            self.reset = True
            return False
        self.buffer += data
        return False

    # --- what is expected

    def expect(self, opcode: int, what: str) -> Frame:
        frame = self.next()
        if frame is None or frame.opcode != opcode:
            end = "reset" if self.reset else "ended"
            raise Failed(f"{what} should come, not {frame or f'a connection that is {end}'}")
        return frame

    def expect_pong(self, payload: bytes = b"") -> None:
        frame = self.expect(PONG, f"the pong {payload[:20]!r}")
        if frame.payload != payload:
            raise Failed(f"the pong carries {frame.payload!r}, the ping carried {payload!r}")

    def expect_ack(self, id: str) -> None:
        frame = self.expect(TEXT, f"the ack of {id[:20]!r}")
        if frame.json()["type"] != "ack" or frame.json()["id"] != id:
            raise Failed(f"the ack of {id!r} should come, not {frame}")

    def expect_malformed(self) -> None:
        """The answer to a text that is no frame of the protocol: the socket stays."""
        frame = self.expect(TEXT, "an error frame")
        if (frame.json()["type"], frame.json().get("code")) != ("error", "malformed"):
            raise Failed(f"an error frame should come, not {frame}")

    def expect_end(self) -> None:
        """The server ends the connection, as RFC 6455 §7.1.1 wants it to, and in order."""
        frame = self.next()
        if frame is not None:
            raise Failed(f"after the close there still comes {frame}")
        if self.reset:
            raise Failed("the connection is reset after the close: what was sent last may be lost")

    def expect_failed(self, code: int, bye: str = "protocol") -> None:
        """The server fails the connection: `bye`, a close with that code, and the end, which it waits for us with."""
        frame = self.expect(TEXT, "bye")
        if (frame.json()["type"], frame.json().get("code")) != ("bye", bye):
            raise Failed(f"bye {bye} should come, not {frame}")
        frame = self.expect(CLOSE, f"close {code}")
        if close_code(frame) != code:
            raise Failed(f"the close code is {close_code(frame)}, not {code}")
        self.send_close(code)
        self.expect_end()

    def expect_close_answer(self, *codes: int | None) -> None:
        """The server's close after ours, and the end of the connection."""
        frame = self.expect(CLOSE, "the answer to the close")
        if close_code(frame) not in codes:
            raise Failed(f"the close is answered with {close_code(frame)}, not {' or '.join(map(str, codes))}")
        self.expect_end()

    def close(self) -> None:
        """An ordinary end from our side, in order and with nothing before it."""
        self.send_close(1000)
        self.expect_close_answer(1000)
