"""Fuzzes the REST calls of the example server by its own document: `python fuzz.py SERVER ARTIFACTS [OPTION]...`.

Needs schemathesis (requirements.txt), and runs in its Python. Options are those of `schemathesis run`, such as `--seed 7 -n 500`.
Fails when an answer is not as the document says, and when an operation was never called with success: then nothing has been tested behind
it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

from seed import World, fill
from server import Server, end_with_parent, running

HERE = Path(__file__).parent
# Where a real value is put, and how often; everything else is made up.
BINDINGS = {
    "path.room_id": ("rooms", 0.8),
    "path.user_id": ("users", 0.7),
    "path.id": ("users_or_sessions", 0.7),
    "path.friendship_id": ("friendships", 0.7),
    "path.seq": ("numbers", 0.8),
    "path.emoji": ("emoji", 0.7),
    "query.ids": ("lists_of_users", 0.5),
    "query.q": ("prefixes", 0.5),
    "query.cursor": ("cursors", 0.8),
    "body.user_id": ("users", 0.7),
    "body.user_ids[*]": ("users", 0.8),
    "body.member_ids[*]": ("users", 0.8),
    "body.seq": ("numbers", 0.7),
    "body.reply_to": ("numbers", 0.5),
    "body.login": ("names", 0.7),
    "body.password": ("passwords", 0.5),
    "body.current_password": ("passwords", 0.7),
    "body.refresh_token": ("refresh_tokens", 0.5),
}
# Sockets, whose handshakes websocket.py tests; and the document, which schemathesis reads but does not fuzz.
NOT_FUZZED = ("GET /ws", "GET /ws/chat/{room_id}", "GET /openapi.json")


def toml(value: Any) -> str:
    """A string, a number or a list of them: what JSON and TOML write alike."""
    return json.dumps(value, ensure_ascii=False)


def config(server: Server, world: World, artifacts: Path) -> Path:
    lines = [(HERE / "schemathesis.toml").read_text()]
    lines += [f"[auth.openapi.bearer]\nbearer = {toml(world.token)}\n"]
    lines += [f"[dictionaries.{name}]\nvalues = {toml(values)}\n" for name, values in world.values.items()]
    lines += ["[parameters]"]
    for parameter, (dictionary, probability) in BINDINGS.items():
        lines.append(f"{toml(parameter)} = {{ dictionary = {toml(dictionary)}, probability = {probability} }}")
    path = artifacts / "schemathesis.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def unreached(document: Any, answers: dict[str, dict[str, int]]) -> list[str]:
    """The operations that were never called with success."""
    operations = [f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item]
    reached = {name for name, statuses in answers.items() if any(status.startswith("2") for status in statuses)}
    return [name for name in operations if name not in reached and name not in NOT_FUZZED]


def failed(junit: Path) -> int:
    """The operations of which schemathesis says that they failed."""
    suites = xml.etree.ElementTree.parse(junit).getroot()
    return sum(
        1 for case in suites.iter("testcase") if case.find("failure") is not None or case.find("error") is not None
    )


def report(answers: dict[str, dict[str, int]], artifacts: Path) -> int:
    """How each operation was answered; the number of answers."""
    rows = [
        f"{name}\t{' '.join(f'{status}:{count}' for status, count in sorted(counts.items()))}"
        for name, counts in sorted(answers.items())
    ]
    (artifacts / "answers.tsv").write_text("\n".join(["operation\tstatus:answers", *rows]) + "\n")
    return sum(sum(counts.values()) for counts in answers.values())


def main(binary: str, folder: str, *options: str) -> int:
    artifacts = Path(folder).resolve()
    artifacts.mkdir(parents=True, exist_ok=True)
    answers_file = artifacts / "answers.json"
    junit = artifacts / "junit.xml"
    answers_file.unlink(missing_ok=True)
    junit.unlink(missing_ok=True)
    with running(binary, artifacts / "server.log", "--access-ttl", "36000") as server:
        world = fill(server)
        document = server.call("GET", "/openapi.json")
        facts = {
            "url": server.url,
            "token": world.token,
            "sessions": world.sessions,
            "cursors": world.cursors,
            "answers": str(answers_file),
        }
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config(server, world, artifacts))]
        command += [
            "run",
            f"{server.url}/openapi.json",
            "--report-dir",
            str(artifacts),
            "--report-junit-path",
            str(junit),
            *options,
        ]
        environment = os.environ | {
            "CHATCORE_FUZZ": json.dumps(facts),
            "SCHEMATHESIS_HOOKS": "fuzz_hooks",
            "PYTHONPATH": str(HERE),
        }
        fuzzed = subprocess.run(
            command, env=environment, cwd=artifacts, stdin=subprocess.DEVNULL, preexec_fn=end_with_parent, check=False
        )
        server.call("GET", "/readyz")
    answers = json.loads(answers_file.read_text())
    missing = unreached(document, answers)
    for name in missing:
        print(f"FAILED {name}: was never called with success")
    failures = failed(junit) + len(missing)
    print(f"{len(answers)} operations fuzzed, {report(answers, artifacts)} answers, {failures} failed")
    return 1 if fuzzed.returncode or missing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
