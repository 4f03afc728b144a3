"""The cases: Autobahn's catalogue, under its numbers, and beyond it the handshake and what else RFC 6455 says (H and X).

Autobahn talks to an echo server. A chat server answers with an echo too, to a `ping` frame that carries an `id`; so where Autobahn sends a
text, these cases send a `ping`, as long as the case says and cut as the case says, and its ack has to carry the very id. Where a case is
about a text that cannot be a frame of the protocol (it is empty, or it is one sequence of bytes), the answer is an `error`, which shows
that the message has come whole; it may come twice in a row. Where Autobahn sends binary, the protocol says 1003. A message over 64 KiB is
answered with 1009.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

from peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PATIENCE,
    PING,
    PONG,
    TEXT,
    Failed,
    NonStrict,
    Peer,
    close_code,
    encode,
)
from utf8 import KAPPA, SECTIONS

Run = Callable[[Peer], None]
Open = Callable[[], Peer]

LIMIT = 65536
WHOLE_FRAME = (
    "tungstenite looks at a frame's text when the frame is complete; up to 64 KiB are held, as the protocol allows"
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A case. One that is not `opened` makes its own handshake. It gets a peer for each connection that it asks for."""

    number: str
    about: str
    run: Callable[[Open], None]


CASES: list[Case] = []


def case(number: str, about: str, opened: bool = True) -> Callable[[Run], Run]:
    """A case of one connection."""

    def add(run: Run) -> Run:
        def once(connect: Open) -> None:
            peer = connect()
            if opened:
                peer.open()
            run(peer)

        CASES.append(Case(number, about, once))
        return run

    return add


# --- what is sent


def ping(size: int = 0, id: str = "Hello, world!") -> bytes:
    """A frame of the protocol that is answered, of just that size where one is given."""
    start, end = b'{"type":"ping","pad":"', b'","id":"' + id.encode() + b'"}'
    if size == 0:
        return b'{"type":"ping","id":"' + id.encode() + b'"}'
    return start + b"*" * (size - len(start) - len(end)) + end


def parts(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


HELLO = ping()
HALVES = [HELLO[:9], HELLO[9:]]


def echo(peer: Peer, data: bytes, chop: int | None = None, fragment: int | None = None) -> None:
    """A message, whole or in fragments, and its answer."""
    if fragment is None:
        peer.send(TEXT, data, chop=chop)
    else:
        peer.send_fragments(TEXT, parts(data, fragment), chop)
    peer.expect_ack("Hello, world!")


def expect_first_then_failed(peer: Peer, code: int = 1002) -> None:
    """The message before the violation is answered; Autobahn calls it non-strict where it is not."""
    frame = peer.expect(TEXT, "the ack, or bye")
    if frame.json()["type"] == "ack":
        peer.expect_failed(code)
        return
    if frame.json()["type"] != "bye":
        raise Failed(f"the ack or bye should come, not {frame}")
    if close_code(peer.expect(CLOSE, "close")) != code:
        raise Failed(f"the close code is not {code}")
    peer.send_close(code)
    peer.expect_end()
    raise NonStrict("what was sent before the violation is not answered")


# --- 1: framing


def sizes() -> None:
    lengths = [0, 125, 126, 127, 128, 65535, 65536, 65536]
    for index, length in enumerate(lengths, 1):
        chop = 997 if index == 8 else None
        how = f"{length} bytes" + (" in chops of 997" if chop else "")

        def text(peer: Peer, length: int = length, chop: int | None = chop) -> None:
            if length == 0:
                peer.send(TEXT, b"")
                peer.expect_malformed()
                echo(peer, HELLO)
            else:
                echo(peer, ping(length), chop)
            peer.close()

        def binary(peer: Peer, length: int = length, chop: int | None = chop) -> None:
            peer.send(BINARY, b"\xfe" * length, chop=chop)
            peer.expect_failed(1003)

        case(f"1.1.{index}", f"text of {how}")(text)
        case(f"1.2.{index}", f"binary of {how}: 1003")(binary)


# --- 2: ping and pong


def pings() -> None:
    for number, payload, about, chop in (
        ("2.1", b"", "ping without payload", None),
        ("2.2", b"Hello, world!", "ping with text", None),
        ("2.3", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", "ping with binary", None),
        ("2.4", b"\xfe" * 125, "ping of 125 bytes", None),
        ("2.6", b"\xfe" * 125, "ping of 125 bytes, byte by byte", 1),
    ):

        def answered(peer: Peer, payload: bytes = payload, chop: int | None = chop) -> None:
            peer.send(PING, payload, chop=chop)
            peer.expect_pong(payload)
            peer.close()

        case(number, about)(answered)

    @case("2.5", "ping of 126 bytes: 1002")
    def _(peer: Peer) -> None:
        peer.send(PING, b"\xfe" * 126)
        peer.expect_failed(1002)

    for number, payload in (("2.7", b""), ("2.8", b"unsolicited pong payload")):

        def unsolicited(peer: Peer, payload: bytes = payload) -> None:
            peer.send(PONG, payload)
            peer.close()

        case(number, f"unsolicited pong of {len(payload)} bytes: nothing")(unsolicited)

    @case("2.9", "unsolicited pong, then a ping")
    def _(peer: Peer) -> None:
        peer.send(PONG, b"unsolicited pong payload")
        peer.send(PING, b"ping payload")
        peer.expect_pong(b"ping payload")
        peer.close()

    for number, chop in (("2.10", None), ("2.11", 1)):

        def ten(peer: Peer, chop: int | None = chop) -> None:
            for index in range(10):
                peer.send(PING, b"payload-%d" % index, chop=chop)
            seen: list[bytes] = []
            while not seen or seen[-1] != b"payload-9":
                seen.append(peer.expect(PONG, "a pong").payload)
            peer.close()
            if len(seen) < 10:
                # RFC 6455 §5.5.3: an endpoint may answer the latest ping alone.
                raise NonStrict(
                    f"10 pings in a row get {len(seen)} pongs, the last for the latest, as RFC 6455 §5.5.3 allows (tungstenite)"
                )

        case(number, "10 pings in a row" + (", byte by byte" if chop else ""))(ten)


# --- 3 and 4: what is reserved


def reserved() -> None:
    binary = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
    for number, opcode, rsv, payload in (
        ("3.1", TEXT, 1, HELLO),
        ("3.5", BINARY, 5, binary),
        ("3.6", PING, 6, b"Hello, world!"),
        ("3.7", CLOSE, 7, b""),
    ):

        def alone(peer: Peer, opcode: int = opcode, rsv: int = rsv, payload: bytes = payload) -> None:
            peer.send(opcode, payload, rsv=rsv)
            peer.expect_failed(1002)

        case(number, f"RSV = {rsv} in a frame with opcode {opcode}: 1002")(alone)

    for number, rsv, chop in (("3.2", 2, None), ("3.3", 3, None), ("3.4", 4, 1)):

        def after(peer: Peer, number: str = number, rsv: int = rsv, chop: int | None = chop) -> None:
            peer.send(TEXT, HELLO, chop=chop)
            if number == "3.3":
                time.sleep(0.02)
            peer.send(TEXT, HELLO, rsv=rsv, chop=chop)
            peer.send(PING, chop=chop)
            expect_first_then_failed(peer)

        case(number, f"text, text with RSV = {rsv}, ping" + (", byte by byte" if chop else ""))(after)

    for section, base in (("4.1", 3), ("4.2", 11)):
        for index in range(5):
            opcode, payload = base + index, HELLO if index in (1, 3, 4) else b""

            def opcodes(peer: Peer, opcode: int = opcode, payload: bytes = payload, index: int = index) -> None:
                chop = 1 if index == 4 else None
                if index >= 2:
                    peer.send(TEXT, HELLO, chop=chop)
                peer.send(opcode, payload, chop=chop)
                if index < 2:
                    peer.expect_failed(1002)
                    return
                peer.send(PING, chop=chop)
                expect_first_then_failed(peer)

            case(f"{section}.{index + 1}", f"reserved opcode {opcode}" + (" after a text" if index >= 2 else ""))(
                opcodes
            )


# --- 5: fragmentation


def fragmentation() -> None:
    for number, opcode in (("5.1", PING), ("5.2", PONG)):

        def control(peer: Peer, opcode: int = opcode) -> None:
            peer.send_fragments(opcode, [b"fragment1", b"fragment2"])
            peer.expect_failed(1002)

        case(number, f"{'ping' if opcode == PING else 'pong'} in two fragments: 1002")(control)

    for first, middle in ((3, False), (6, True)):
        for offset, (how, chop) in enumerate((("", None), (", frame by frame", 0), (", byte by byte", 1))):

            def whole(peer: Peer, middle: bool = middle, chop: int | None = chop) -> None:
                peer.send(TEXT, HALVES[0], fin=False, chop=chop or None)
                if chop == 0:
                    time.sleep(0.02)
                if middle:
                    peer.send(PING, b"ping payload", chop=chop or None)
                if chop == 0:
                    time.sleep(0.02)
                peer.send(CONTINUATION, HALVES[1], chop=chop or None)
                if middle:
                    peer.expect_pong(b"ping payload")
                peer.expect_ack("Hello, world!")
                peer.close()

            about = "text in two fragments" + (" with a ping between" if middle else "") + how
            case(f"5.{first + offset}", about)(whole)

    for first, fin in ((9, True), (12, False)):
        for offset, (how, chop) in enumerate((("", None), (", frame by frame", 0), (", byte by byte", 1))):

            def nothing(peer: Peer, fin: bool = fin, chop: int | None = chop) -> None:
                peer.send(CONTINUATION, b"non-continuation payload", fin=fin, chop=chop or None)
                if chop == 0:
                    time.sleep(0.02)
                peer.send(TEXT, HELLO, chop=chop or None)
                peer.expect_failed(1002)

            about = f"continuation (FIN = {int(fin)}) of nothing, then a text: 1002"
            case(f"5.{first + offset}", about + how)(nothing)

    @case("5.15", "text in two fragments, then a continuation of nothing, then a text")
    def _(peer: Peer) -> None:
        peer.send_fragments(TEXT, HALVES)
        peer.send(CONTINUATION, b"fragment3", fin=False)
        peer.send(TEXT, HELLO)
        expect_first_then_failed(peer)

    for number, fin in (("5.16", False), ("5.17", True)):

        def repeated(peer: Peer, fin: bool = fin) -> None:
            for _ in range(2):
                peer.send(CONTINUATION, b"fragment1", fin=fin)
                peer.send(TEXT, HALVES[0], fin=False)
                peer.send(CONTINUATION, HALVES[1])
            peer.expect_failed(1002)

        case(number, f"continuation (FIN = {int(fin)}) of nothing before a text in fragments, twice: 1002")(repeated)

    @case("5.18", "text in two fragments that are both text: 1002")
    def _(peer: Peer) -> None:
        peer.send(TEXT, HALVES[0], fin=False)
        peer.send(TEXT, HALVES[1])
        peer.expect_failed(1002)

    for number, pause in (("5.19", 0.0), ("5.20", 0.02)):

        def five(peer: Peer, pause: float = pause) -> None:
            pieces = parts(HELLO, 8)
            peer.send(TEXT, pieces[0], fin=False)
            time.sleep(pause)
            peer.send(CONTINUATION, pieces[1], fin=False)
            time.sleep(pause)
            peer.send(PING, b"pongme 1!")
            # Answered before the message is complete.
            peer.expect_pong(b"pongme 1!")
            peer.send(CONTINUATION, pieces[2], fin=False)
            peer.send(CONTINUATION, pieces[3], fin=False)
            time.sleep(pause)
            peer.send(PING, b"pongme 2!")
            peer.send(CONTINUATION, b"".join(pieces[4:]))
            peer.expect_pong(b"pongme 2!")
            peer.expect_ack("Hello, world!")
            peer.close()

        case(
            number,
            "text in five fragments with two pings, each answered at once" + (", frame by frame" if pause else ""),
        )(five)


# --- 6: UTF-8

BAD = bytes.fromhex("eda080")
BEYOND = bytes.fromhex("f4908080")
EDITED = b"edited"


def texts() -> None:
    @case("6.1.1", "empty text")
    def _(peer: Peer) -> None:
        peer.send(TEXT)
        peer.expect_malformed()
        echo(peer, HELLO)
        peer.close()

    @case("6.1.2", "three empty fragments")
    def _(peer: Peer) -> None:
        peer.send_fragments(TEXT, [b"", b"", b""])
        peer.expect_malformed()
        echo(peer, HELLO)
        peer.close()

    @case("6.1.3", "three fragments, the first and the last empty")
    def _(peer: Peer) -> None:
        peer.send_fragments(TEXT, [b"", HELLO, b""])
        peer.expect_ack("Hello, world!")
        peer.close()

    greek = "Hello-µ@ßöäüàá-UTF-8!!"
    frame = ping(id=greek)
    middle = len(b'{"type":"ping","id":"Hello-') + 1  # within µ
    for number, about, pieces in (
        ("6.2.1", "valid text", [frame]),
        ("6.2.2", "valid text in fragments that end where characters end", [frame[:20], frame[20:]]),
        ("6.2.3", "valid text in fragments of one byte", parts(frame, 1)),
        ("6.2.4", "valid text in fragments that end within characters", [frame[:middle], frame[middle:]]),
    ):

        def valid(peer: Peer, pieces: list[bytes] = pieces) -> None:
            peer.send_fragments(TEXT, pieces)
            peer.expect_ack(greek)
            peer.close()

        case(number, about)(valid)

    for number, fragment in (("6.3.1", None), ("6.3.2", 1)):

        def invalid(peer: Peer, fragment: int | None = fragment) -> None:
            data = KAPPA + BAD + EDITED
            peer.send_fragments(TEXT, parts(data, fragment or len(data)))
            peer.expect_failed(1007)

        case(number, "invalid text" + (" in fragments of one byte" if fragment else "") + ": 1007")(invalid)

    whole = KAPPA + BEYOND + EDITED
    for number, pieces in (
        ("6.4.1", [KAPPA, BEYOND, EDITED]),
        ("6.4.2", [whole[:12], whole[12:13], whole[13:]]),
    ):

        def by_frames(peer: Peer, pieces: list[bytes] = pieces) -> None:
            peer.send(TEXT, pieces[0], fin=False)
            if not peer.quiet(0.2):
                raise Failed("a text that is valid so far is not waited for")
            peer.send(CONTINUATION, pieces[1], fin=False)
            if peer.quiet(0.5):
                peer.send(CONTINUATION, pieces[2])
                peer.expect_failed(1007)
                raise NonStrict("the invalid fragment is refused only with the end of the message")
            peer.expect_failed(1007)

        case(number, "invalid text in three frames: refused with the second")(by_frames)

    for number, pieces in (
        ("6.4.3", [KAPPA, BEYOND, EDITED]),
        ("6.4.4", [whole[:12], whole[12:13], whole[13:]]),
    ):

        def by_chops(peer: Peer, pieces: list[bytes] = pieces) -> None:
            data = encode(TEXT, b"".join(pieces))
            head = len(data) - len(whole)
            ends = [head + len(pieces[0]), head + len(pieces[0]) + len(pieces[1]), len(data)]
            peer.send_raw(data[: ends[0]])
            if not peer.quiet(0.2):
                raise Failed("a text that is valid so far is not waited for")
            peer.send_raw(data[ends[0] : ends[1]])
            if peer.quiet(0.5):
                peer.send_raw(data[ends[1] :])
                peer.expect_failed(1007)
                raise NonStrict(f"refused with the end of the frame: {WHOLE_FRAME}")
            peer.expect_failed(1007)

        case(number, "invalid text in three chops of one frame: refused with the second")(by_chops)


def sequences() -> None:
    for section, (about, list_of) in enumerate(SECTIONS, 5):
        for index, (valid, sequence) in enumerate(list_of, 1):
            CASES.append(
                Case(
                    f"6.{section}.{index}",
                    f"{about}: {sequence[:12].hex()}{'…' if len(sequence) > 12 else ''}{'' if valid else ': 1007'}",
                    accepted(sequence) if valid else refused(sequence),
                )
            )


def accepted(sequence: bytes) -> Callable[[Open], None]:
    """The sequence alone, as Autobahn sends it, and where JSON allows it raw also within an id, which has to come back."""

    def run(connect: Open) -> None:
        peer = connect()
        peer.open()
        peer.send(TEXT, sequence)
        peer.expect_malformed()
        id = sequence.decode()
        if id >= " ":
            peer.send(TEXT, ping(id=id))
            peer.expect_ack(id)
            peer.send_fragments(TEXT, parts(ping(id=id), 1))
            peer.expect_ack(id)
        peer.close()

    return run


def refused(sequence: bytes) -> Callable[[Open], None]:
    """The sequence alone, within what would be a frame of the protocol, and in fragments of one byte."""

    def run(connect: Open) -> None:
        for pieces in ([sequence], [b'{"type":"ping","id":"' + sequence + b'"}'], parts(sequence, 1)):
            peer = connect()
            peer.open()
            peer.send_fragments(TEXT, pieces)
            peer.expect_failed(1007)

    return run


# --- 7: closing


def closing() -> None:
    @case("7.1.1", "text, then close")
    def _(peer: Peer) -> None:
        echo(peer, HELLO)
        peer.close()

    for number, about, opcode, payload in (
        ("7.1.2", "two closes", CLOSE, b""),
        ("7.1.3", "a ping after the close: no pong", PING, b""),
        ("7.1.4", "a text after the close: ignored", TEXT, HELLO),
    ):

        def after(peer: Peer, opcode: int = opcode, payload: bytes = payload) -> None:
            peer.send_close(1000)
            peer.send(opcode, payload)
            peer.expect_close_answer(1000)

        case(number, about)(after)

    @case("7.1.5", "a fragment, the close, the other fragment: ignored")
    def _(peer: Peer) -> None:
        peer.send(TEXT, HALVES[0], fin=False)
        peer.send_close(1000)
        peer.send(CONTINUATION, HALVES[1])
        peer.expect_close_answer(1000)

    @case("7.1.6", "256 KiB of text, a text, close, ping, back to back: 1009")
    def _(peer: Peer) -> None:
        frames = [encode(TEXT, b"BAsd7&jh23" * 26215), encode(TEXT, HELLO), encode(CLOSE, b"\x03\xe8"), encode(PING)]
        peer.send_raw(b"".join(frames))
        peer.expect_failed(1009)

    @case("7.3.1", "close without payload")
    def _(peer: Peer) -> None:
        peer.send_close(None)
        peer.expect_close_answer(1000, None)

    @case("7.3.2", "close with one byte: 1002")
    def _(peer: Peer) -> None:
        peer.send(CLOSE, b"a")
        peer.expect_failed(1002)

    for number, reason in (("7.3.3", b""), ("7.3.4", b"Hello World!"), ("7.3.5", b"*" * 123)):

        def reasons(peer: Peer, reason: bytes = reason) -> None:
            peer.send_close(1000, reason)
            peer.expect_close_answer(1000)

        case(number, f"close with a reason of {len(reason)} bytes")(reasons)

    @case("7.3.6", "close with a reason of 124 bytes: 1002")
    def _(peer: Peer) -> None:
        peer.send_close(1000, b"*" * 124)
        peer.expect_failed(1002)

    @case("7.5.1", "close with a reason that is not UTF-8: 1007 or 1002")
    def _(peer: Peer) -> None:
        peer.send_close(1000, KAPPA + BAD + EDITED)
        frame = peer.expect(TEXT, "bye")
        if frame.json()["type"] != "bye":
            raise Failed(f"bye should come, not {frame}")
        code = close_code(peer.expect(CLOSE, "close"))
        if code not in (1002, 1007):
            raise Failed(f"the close code is {code}")
        peer.send_close(code)
        peer.expect_end()

    for index, code in enumerate(
        (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999, 1012, 1013), 1
    ):

        def good(peer: Peer, code: int = code) -> None:
            peer.send_close(code)
            peer.expect_close_answer(1000, code)

        case(f"7.7.{index}", f"close with code {code}")(good)

    @case("7.7.16", "close with code 1014, which came after RFC 6455")
    def _(peer: Peer) -> None:
        peer.send_close(1014)
        frame = peer.expect(CLOSE, "the answer to the close")
        peer.expect_end()
        if close_code(frame) == 1002:
            raise NonStrict("tungstenite does not know the code; the connection ends all the same")
        if close_code(frame) != 1014:
            raise Failed(f"the close is answered with {close_code(frame)}")

    for index, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 1015), 1):

        def bad(peer: Peer, code: int = code) -> None:
            peer.send_close(code)
            peer.expect_close_answer(1002)

        case(f"7.9.{index}", f"close with code {code}, which must not be sent: 1002")(bad)

    for index, code in enumerate((5000, 65535), 1):

        def undefined(peer: Peer, code: int = code) -> None:
            peer.send_close(code)
            peer.expect_close_answer(1000, 1002, code)

        case(f"7.13.{index}", f"close with code {code}, of which nothing is said")(undefined)


# --- 9 and 10: limits


def limits() -> None:
    kib = 1024
    for index, size in enumerate((1, 4, 16, 64), 1):

        def within(peer: Peer, size: int = size * kib) -> None:
            echo(peer, ping(size))
            peer.close()

        case(f"9.1.{index}", f"text of {size} KiB")(within)
    for index, size in enumerate((LIMIT + 1, 256 * kib, 1024 * kib, 4096 * kib, 16384 * kib), 5):

        def beyond(peer: Peer, size: int = size) -> None:
            peer.send(TEXT, ping(size))
            peer.expect_failed(1009)

        def beyond_binary(peer: Peer, size: int = size) -> None:
            peer.send(BINARY, b"\xfe" * size)
            peer.expect_failed(1009)

        case(f"9.1.{index}", f"text of {size} bytes: 1009")(beyond)
        case(f"9.2.{index}", f"binary of {size} bytes: 1009")(beyond_binary)

    fragments = [64, 256, kib, 4 * kib, 16 * kib, 64 * kib]
    for index, size in enumerate(fragments, 1):

        def fragmented(peer: Peer, size: int = size) -> None:
            echo(peer, ping(LIMIT), fragment=size)
            peer.close()

        def fragmented_binary(peer: Peer, size: int = size) -> None:
            peer.send_fragments(BINARY, parts(b"\xfe" * LIMIT, size))
            peer.expect_failed(1003)

        def too_many(peer: Peer, size: int = size) -> None:
            peer.send_raw(
                b"".join(
                    encode(TEXT if at == 0 else 0, piece, fin=False)
                    for at, piece in enumerate(parts(ping(1024 * kib), size))
                )
            )
            peer.expect_failed(1009)

        case(f"9.3.{index}", f"text of 64 KiB in fragments of {size} bytes")(fragmented)
        case(f"9.4.{index}", f"binary of 64 KiB in fragments of {size} bytes: 1003")(fragmented_binary)
        case(f"9.3.{index + 6}", f"text of 1 MiB in fragments of {size} bytes: 1009")(too_many)

    for index, chop in enumerate((64, 128, 256, 512, 1024, 2048), 1):

        def chopped(peer: Peer, chop: int = chop) -> None:
            echo(peer, ping(LIMIT), chop=chop)
            peer.close()

        def chopped_binary(peer: Peer, chop: int = chop) -> None:
            peer.send(BINARY, b"\xfe" * LIMIT, chop=chop)
            peer.expect_failed(1003)

        case(f"9.5.{index}", f"text of 64 KiB in chops of {chop} bytes")(chopped)
        case(f"9.6.{index}", f"binary of 64 KiB in chops of {chop} bytes: 1003")(chopped_binary)

    for index, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):

        def round_trips(peer: Peer, size: int = size) -> None:
            for _ in range(1000):
                if size >= 64:
                    echo(peer, ping(size))
                    continue
                # Too short for an id, so the answer is an error; and three malformed ones in a row would end the socket.
                peer.send(TEXT, b'{"type":"a"}'.ljust(size) if size else b"")
                peer.expect(TEXT, "an error frame")
                if size == 0:
                    echo(peer, HELLO)
            peer.close()

        case(f"9.7.{index}", f"1000 texts of {size} bytes, one after the other")(round_trips)

    @case("9.8.1", "a second binary message: the first has ended the socket, 1003")
    def _(peer: Peer) -> None:
        peer.send(BINARY, b"\xfe" * 16)
        peer.send(BINARY, b"\xfe" * 16)
        peer.expect_failed(1003)

    @case("10.1.1", "text of 65536 bytes in fragments of 1300")
    def _(peer: Peer) -> None:
        echo(peer, ping(LIMIT), fragment=1300)
        peer.close()


# --- 12 and 13: permessage-deflate, which is never accepted

OFFERS = (
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_no_context_takeover",
    "permessage-deflate; server_no_context_takeover",
    "permessage-deflate; server_max_window_bits=9",
    "permessage-deflate; server_max_window_bits=15",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits=9, permessage-deflate",
    "permessage-deflate; client_max_window_bits; server_no_context_takeover; server_max_window_bits=8, x-webkit-deflate-frame",
)


def compression() -> None:
    for index, offer in enumerate(OFFERS, 1):

        def declined(peer: Peer, offer: str = offer) -> None:
            peer.open([("Sec-WebSocket-Extensions", offer)])
            for size in (64, 1024, LIMIT):
                echo(peer, ping(size))
            peer.close()

        def compressed(peer: Peer, offer: str = offer) -> None:
            peer.open([("Sec-WebSocket-Extensions", offer)])
            peer.send(TEXT, bytes.fromhex("f248cdc9c9070000"), rsv=4)
            peer.expect_failed(1002)

        case(f"12.1.{index}", f"offer {offer}: declined, texts as ever", opened=False)(declined)
        case(f"13.1.{index}", f"offer {offer}: declined, RSV1 is 1002", opened=False)(compressed)


# --- H: the handshake


Headers = list[tuple[str, str]]
Change = Callable[[Peer], Headers]


def replaced(name: str, *values: str) -> Change:
    """The headers of a good handshake with other values, or none, for one of them."""

    def change(peer: Peer) -> Headers:
        rest = [pair for pair in peer.headers() if pair[0] != name]
        return rest + [(name, value) for value in values]

    return change


def handshakes() -> None:
    def good(number: str, about: str, change: Change, line: str = "GET /ws HTTP/1.1") -> None:
        def run(peer: Peer) -> None:
            peer.check_accepted(peer.request(change(peer), line))
            peer.expect_hello()
            echo(peer, HELLO)
            peer.close()

        case(number, about, opened=False)(run)

    def bad(number: str, about: str, status: int, change: Change, line: str = "GET /ws HTTP/1.1") -> None:
        def run(peer: Peer) -> None:
            answer = peer.request(change(peer), line)
            if answer.status != status:
                raise Failed(f"the answer is {answer.status}, not {status}")
            kind = answer.one("content-type")
            # What hyper itself refuses has no body.
            if answer.body and kind != "application/problem+json":
                raise Failed(f"the answer is {kind}, not a problem")
            if status == 426 and (answer.one("sec-websocket-version"), answer.one("upgrade")) != ("13", "websocket"):
                raise Failed(
                    "426 has to say Sec-WebSocket-Version: 13 and Upgrade: websocket (RFC 6455 §4.4, RFC 9110 §15.5.22)"
                )
            if status == 405 and "GET" not in (answer.one("allow") or ""):
                raise Failed("405 has to say Allow: GET")

        case(number, f"{about}: {status}", opened=False)(run)

    good("H.1.1", "header names in lower case", lambda peer: [(name.lower(), value) for name, value in peer.headers()])
    good("H.1.2", "header names in upper case", lambda peer: [(name.upper(), value) for name, value in peer.headers()])
    good("H.1.3", "Connection: keep-alive, Upgrade", replaced("Connection", "keep-alive, Upgrade"))
    good("H.1.4", "Connection twice", replaced("Connection", "keep-alive", "Upgrade"))
    good("H.1.5", "Upgrade: WebSocket", replaced("Upgrade", "WebSocket"))
    good("H.1.6", "Upgrade: foo, websocket", replaced("Upgrade", "foo, websocket"))
    good(
        "H.1.7", "white space around values", lambda peer: [(name, f" \t{value}\t ") for name, value in peer.headers()]
    )
    good("H.1.8", "headers in another order", lambda peer: peer.headers()[::-1])
    good("H.1.9", "headers that nobody knows", lambda peer: [*peer.headers(), ("X-Anything", "a" * 1000)])
    good("H.1.10", "an absolute request target", lambda peer: peer.headers(), "GET http://localhost/ws HTTP/1.1")
    good("H.1.11", "an own origin", lambda peer: [*peer.headers(), ("Origin", f"http://{peer.host}")])

    @case("H.1.12", "the whole handshake byte by byte", opened=False)
    def _(peer: Peer) -> None:
        peer.send_raw(peer.head(peer.headers()), 1)
        peer.check_accepted(peer.read_answer())
        peer.expect_hello()
        peer.close()

    @case("H.1.13", "frames right behind the handshake", opened=False)
    def _(peer: Peer) -> None:
        peer.send_raw(peer.head(peer.headers()) + encode(TEXT, HELLO) + encode(PING, b"early"))
        peer.check_accepted(peer.read_answer())
        peer.expect_hello()
        seen = {frame.opcode: frame for frame in (peer.next(), peer.next()) if frame is not None}
        if set(seen) != {TEXT, PONG}:
            raise Failed(f"an ack and a pong should come, not {seen}")
        peer.close()

    @case("H.1.14", "subprotocols chatcore.v1 and the token: chatcore.v1 alone is answered", opened=False)
    def _(peer: Peer) -> None:
        rest = [pair for pair in peer.headers() if pair[0] != "Authorization"]
        answer = peer.request([*rest, ("Sec-WebSocket-Protocol", f"chatcore.v1, bearer.{peer.token}")])
        peer.check_accepted(answer)
        if answer.one("sec-websocket-protocol") != "chatcore.v1":
            raise Failed(f"the subprotocol is {answer.one('sec-websocket-protocol')}")
        peer.expect_hello()
        peer.close()

    @case("H.1.15", "a subprotocol that the server does not speak: none is answered", opened=False)
    def _(peer: Peer) -> None:
        answer = peer.open([("Sec-WebSocket-Protocol", "soap, wamp")])
        if answer.one("sec-websocket-protocol") is not None:
            raise Failed(f"the subprotocol is {answer.one('sec-websocket-protocol')}")
        peer.close()

    @case("H.1.16", "a subprotocol token that is none: bye revoked, 4401", opened=False)
    def _(peer: Peer) -> None:
        rest = [pair for pair in peer.headers() if pair[0] != "Authorization"]
        peer.check_accepted(peer.request([*rest, ("Sec-WebSocket-Protocol", "chatcore.v1, bearer.none")]))
        peer.expect_failed(4401, "revoked")

    for index, name in enumerate(("Upgrade", "Connection", "Sec-WebSocket-Key", "Host"), 1):
        bad(f"H.2.{index}", f"no {name}", 400, replaced(name))
    bad("H.2.5", "Connection: close", 400, replaced("Connection", "close"))
    bad("H.2.6", "Upgrade: h2c", 400, replaced("Upgrade", "h2c"))
    bad("H.2.7", "HTTP/1.0", 400, lambda peer: peer.headers(), "GET /ws HTTP/1.0")
    bad("H.2.8", "POST", 405, lambda peer: [*peer.headers(), ("Content-Length", "0")], "POST /ws HTTP/1.1")
    bad("H.2.9", "no token", 401, replaced("Authorization"))
    bad("H.2.10", "a token that is none", 401, replaced("Authorization", "Bearer none"))
    bad("H.2.11", "a foreign origin", 403, lambda peer: [*peer.headers(), ("Origin", "https://evil.example")])
    bad("H.2.12", "a room that is none", 400, lambda peer: peer.headers(), "GET /ws/chat/none HTTP/1.1")
    unknown = "GET /ws/chat/01920000-0000-7000-8000-000000000001 HTTP/1.1"
    bad("H.2.13", "an unknown room", 404, lambda peer: peer.headers(), unknown)
    for index, key in enumerate(("", "short", "A" * 22, "A" * 24, "!" * 22 + "==", "A" * 44 + "==="), 1):
        bad(f"H.3.{index}", f"Sec-WebSocket-Key: {key}", 400, replaced("Sec-WebSocket-Key", key))
    bad("H.3.7", "Sec-WebSocket-Key twice", 400, lambda peer: [*peer.headers(), ("Sec-WebSocket-Key", peer.key)])
    for index, version in enumerate(("8", "14", "0", "256", "", "x", "8, 13"), 1):
        bad(
            f"H.4.{index}",
            f"Sec-WebSocket-Version: {version}",
            426,
            replaced("Sec-WebSocket-Version", version),
        )
    bad("H.4.8", "no Sec-WebSocket-Version", 426, replaced("Sec-WebSocket-Version"))


# --- X: what Autobahn leaves out


def beyond_autobahn() -> None:
    for index, (opcode, payload) in enumerate(((TEXT, HELLO), (PING, b""), (CLOSE, b"\x03\xe8")), 1):

        def unmasked(peer: Peer, opcode: int = opcode, payload: bytes = payload) -> None:
            peer.send_raw(encode(opcode, payload, key=None))
            peer.expect_failed(1002)

        case(f"X.1.{index}", f"a frame with opcode {opcode} that is not masked (§5.1): 1002")(unmasked)

    @case("X.1.4", "a mask of zeros")
    def _(peer: Peer) -> None:
        peer.send_raw(encode(TEXT, HELLO, key=bytes(4)))
        peer.expect_ack("Hello, world!")
        peer.close()

    for index, form in enumerate((16, 64), 1):

        def longer(peer: Peer, form: int = form) -> None:
            peer.send_raw(encode(TEXT, HELLO, form=form))
            frame = peer.expect(TEXT, "bye or an ack")
            if frame.json()["type"] == "ack":
                peer.close()
                raise NonStrict("tungstenite takes any form of a length; nothing depends on it")
            if frame.json()["type"] != "bye":
                raise Failed(f"bye or an ack should come, not {frame}")

        case(f"X.2.{index}", f"a short length written in {form} bits (§5.2): 1002")(longer)

    for index, length in enumerate((2**63, 2**64 - 1, 2**62), 1):

        def huge(peer: Peer, length: int = length) -> None:
            peer.send_raw(encode(TEXT, b"", length=length, form=64))
            peer.expect_failed(1009)

        case(f"X.2.{index + 2}", f"a claimed length of {length} bytes: 1009 at once")(huge)

    @case("X.3.1", "a ping within each of 100 fragments")
    def _(peer: Peer) -> None:
        pieces = parts(ping(2500), 25)
        for index, piece in enumerate(pieces):
            peer.send(TEXT if index == 0 else CONTINUATION, piece, fin=index == len(pieces) - 1)
            if index < len(pieces) - 1:
                peer.send(PING, b"%d" % index)
                peer.expect_pong(b"%d" % index)
        peer.expect_ack("Hello, world!")
        peer.close()

    @case("X.3.2", "a close within a message in fragments")
    def _(peer: Peer) -> None:
        peer.send(TEXT, HALVES[0], fin=False)
        peer.close()

    @case("X.3.3", "10000 empty fragments")
    def _(peer: Peer) -> None:
        frames = [
            encode(TEXT, HALVES[0], fin=False),
            encode(CONTINUATION, fin=False) * 10_000,
            encode(CONTINUATION, HALVES[1]),
        ]
        peer.send_raw(b"".join(frames))
        peer.expect_ack("Hello, world!")
        peer.close()

    @case("X.4.1", "three texts in a row that are no frames of the protocol: 4400")
    def _(peer: Peer) -> None:
        for _ in range(3):
            peer.send(TEXT, b"Hello, world!")
        for _ in range(2):
            peer.expect_malformed()
        peer.expect_failed(4400)

    @case("X.4.2", "the client goes without a close, within a frame")
    def _(peer: Peer) -> None:
        peer.send_raw(encode(TEXT, HELLO)[:-3])
        peer.socket.shutdown(1)
        deadline = time.monotonic() + PATIENCE
        while peer.read_frame(deadline) is not None:
            pass

    @case("X.4.3", "a flood behind a violation: bye and close come all the same")
    def _(peer: Peer) -> None:
        peer.send_raw(encode(3) + encode(PING, b"x" * 125) * 2000)
        time.sleep(0.1)
        peer.expect_failed(1002)


def catalogue() -> Iterator[Case]:
    """Every case, in the order of the numbers."""
    for section in (
        sizes,
        pings,
        reserved,
        fragmentation,
        texts,
        sequences,
        closing,
        limits,
        compression,
        handshakes,
        beyond_autobahn,
    ):
        section()

    def order(case: Case) -> list[tuple[int, int, str]]:
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in case.number.split(".")]

    numbers = [case.number for case in CASES]
    twice = {number for number in numbers if numbers.count(number) > 1}
    assert not twice, f"two cases have one number: {twice}"
    yield from sorted(CASES, key=order)
