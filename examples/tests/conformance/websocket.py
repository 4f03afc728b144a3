"""Runs the WebSocket cases against the example server: `python3 websocket.py SERVER ARTIFACTS [NUMBER]...`.

A number chooses its case, or all of its section. Needs nothing but Python 3.10. Fails when a case does.
"""

from __future__ import annotations

import collections
import concurrent.futures
import sys
import time
from pathlib import Path

import cases
from peer import Failed, NonStrict, Peer
from server import Server, running

WORKERS = 8
SECTIONS = {
    "1": "framing",
    "2": "ping and pong",
    "3": "reserved bits",
    "4": "reserved opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing",
    "9": "limits",
    "10": "fragmentation by the sender",
    "12": "compression offered",
    "13": "compression used",
    "H": "handshake (not Autobahn's)",
    "X": "further rules (not Autobahn's)",
}
RESULTS = ("OK", "NON-STRICT", "FAILED")


def run(case: cases.Case, server: Server, token: str) -> tuple[str, str, float]:
    """The result of a case, its reason, and the seconds it took."""
    peers: list[Peer] = []

    def connect() -> Peer:
        peers.append(Peer((server.host, server.port), token, f"{case.number}/{len(peers)}"))
        return peers[-1]

    began = time.monotonic()
    try:
        case.run(connect)
        result = ("OK", "")
    except NonStrict as reason:
        result = ("NON-STRICT", str(reason))
    except Failed as reason:
        result = ("FAILED", str(reason))
    except Exception as error:  # Whatever it is, the case has not passed.
        result = ("FAILED", f"{type(error).__name__}: {error}")
    finally:
        for peer in peers:
            peer.end()
    return (*result, time.monotonic() - began)


def chosen(numbers: list[str]) -> list[cases.Case]:
    def wanted(case: cases.Case) -> bool:
        return not numbers or any(f"{case.number}.".startswith(f"{number}.") for number in numbers)

    return [case for case in cases.catalogue() if wanted(case)]


def main(binary: str, artifacts: str, *numbers: str) -> int:
    folder = Path(artifacts)
    folder.mkdir(parents=True, exist_ok=True)
    catalogue = chosen(list(numbers))
    options = ("--frames-per-second", "1000000", "--connections-per-user", "1000")
    with running(binary, folder / "server.log", *options) as server:
        server.register("ada")
        token = server.login("ada")["access_token"]
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            results = list(pool.map(lambda case: run(case, server, token), catalogue))
        server.call("GET", "/readyz")
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    lines = ["case\tresult\tseconds\twhat\treason"]
    for case, (result, reason, seconds) in zip(catalogue, results):
        counts[case.number.split(".")[0]][result] += 1
        lines.append(f"{case.number}\t{result}\t{seconds:.2f}\t{case.about}\t{reason}")
        if result != "OK":
            print(f"{result:10} {case.number:7} {case.about}: {reason}")
    (folder / "cases.tsv").write_text("\n".join(lines) + "\n")
    print(f"\n{'section':34} {'cases':>6} {'OK':>6} {'NON-STRICT':>11} {'FAILED':>7}")
    for section, count in counts.items():
        name = f"{section} {SECTIONS[section]}"
        print(f"{name:34} {count.total():>6} {count['OK']:>6} {count['NON-STRICT']:>11} {count['FAILED']:>7}")
    total = sum(counts.values(), collections.Counter())
    print(f"{total['OK']} OK, {total['NON-STRICT']} non-strict, {total['FAILED']} failed")
    return 1 if total["FAILED"] or not total else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
