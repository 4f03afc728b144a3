"""The example server, started for a test: on a port of its own, its data in a temporary folder, gone with whoever started it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

READY = "chatcore is ready: "
PASSWORD = "correct horse"


def end_with_parent() -> None:
    """In a child: the kernel ends it when this process is killed (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _interrupted(number: int, _frame: object) -> None:
    sys.exit(128 + number)


class Server:
    """A running server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host, port = url.removeprefix("http://").split(":")
        self.port = int(port)

    def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """A REST call that has to succeed."""
        headers = {"content-type": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
        return json.loads(text) if text else None

    def register(self, name: str) -> Any:
        """A new user."""
        body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
        return self.call("POST", "/auth/register", body)

    def login(self, name: str, device: str | None = None) -> Any:
        """Tokens of a new session."""
        return self.call("POST", "/auth/login", {"login": name, "password": PASSWORD, "device": device})


@contextlib.contextmanager
def running(binary: str, log: Path, *options: str) -> Iterator[Server]:
    """Starts the server, without its limits on requests, and stops it."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _interrupted)
    rates = (
        "logins-per-account",
        "logins-per-address",
        "registrations-per-address",
        "connects-per-user",
        "work-per-user",
        "requests-per-address",
    )
    unlimited = [argument for rate in rates for argument in (f"--{rate}", "off")]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHATCORE_")}
    with tempfile.TemporaryDirectory(prefix="chatcore-conformance.") as folder, log.open("w") as errors:
        process = subprocess.Popen(
            [binary, "--listen", "127.0.0.1:0", "--store", f"sqlite:{folder}/chat.db", *unlimited, *options],
            cwd=folder,
            env=inherited,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=end_with_parent,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith(READY):
                raise SystemExit(f"the server did not start: {log}")
            yield Server(line.removeprefix(READY).strip().rstrip("/"))
            if process.poll() is not None:
                raise SystemExit(f"the server ended by itself ({process.returncode}): {log}")
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
