"""People, rooms and messages for the fuzzed caller to meet, and the values by which schemathesis comes to them."""

from __future__ import annotations

import dataclasses
from typing import Any

from server import PASSWORD, Server

CALLER = "ada"
OTHERS = ("bob", "cyd", "dan", "eva", "fay", "gus", "hal", "ivy")
# Stands for a real one, which depends on the list.
CURSOR = "cursor"
EMOJI = ("👍", "🎉", "❤️", "👩‍👩‍👧")


@dataclasses.dataclass
class World:
    """What there is."""

    token: str
    # Of the caller, that of the token among them.
    sessions: list[str]
    # By the operation that gives them out.
    cursors: dict[str, str]
    # Values by dictionary.
    values: dict[str, list[str | int]]


def session_of(server: Server, token: str) -> str:
    sessions = server.call("GET", "/auth/sessions", token=token)["items"]
    return str(next(session["id"] for session in sessions if session["current"]))


def _friendships(server: Server, token: str, tokens: dict[str, str], ids: dict[str, str]) -> list[str]:
    """One accepted, three that wait for the caller's answer, one that the caller waits for."""
    ask = "/friends/request"
    rows = [server.call("POST", ask, {"user_id": ids[CALLER]}, tokens[name]) for name in ("bob", "cyd", "dan", "eva")]
    server.call("PUT", f"/friends/{rows[0]['id']}/status", {"status": "accepted"}, token)
    rows.append(server.call("POST", ask, {"username": "fay"}, token))
    return [row["id"] for row in rows]


def _rooms(server: Server, token: str, tokens: dict[str, str], ids: dict[str, str]) -> list[str]:
    """The caller owns twelve groups, is a plain member of one, talks with one person, and is not in the last."""

    def group(name: str, members: list[str], maker: str) -> str:
        body = {"kind": "group", "name": name, "member_ids": [ids[member] for member in members]}
        return str(server.call("POST", "/chat-rooms", body, maker)["id"])

    rooms = [group(f"own {number}", ["bob", "cyd", "dan"], token) for number in range(12)]
    rooms.append(server.call("POST", "/chat-rooms", {"kind": "direct", "user_id": ids["bob"]}, token)["id"])
    rooms.append(group("bob's", [CALLER, "cyd"], tokens["bob"]))
    for room in rooms:
        _messages(server, room, token, tokens["bob"])
    rooms.append(group("without", ["cyd"], tokens["bob"]))
    return rooms


def _messages(server: Server, room: str, token: str, other: str) -> None:
    seqs: list[int] = []
    for number in range(8):
        body: dict[str, Any] = {"body": f"message {number}", "client_id": f"key-{number}"}
        if seqs:
            body["reply_to"] = seqs[0]
        seqs.append(server.call("POST", f"/messages/{room}", body, other if number % 4 == 1 else token)["seq"])
    for emoji in EMOJI[:2]:
        for who in (token, other):
            server.call("PUT", f"/messages/{room}/{seqs[1]}/reactions/{_quoted(emoji)}", token=who)
    server.call("DELETE", f"/messages/{room}/{seqs[-1]}", token=token)


def _quoted(emoji: str) -> str:
    return "".join(f"%{byte:02x}" for byte in emoji.encode())


def _cursors(server: Server, token: str, room: str) -> dict[str, str]:
    """A real one of each list that has more than one row."""
    message = f"/messages/{room}/6/reactions"
    paths = {
        "GET /auth/sessions": "/auth/sessions?",
        "GET /chat-rooms": "/chat-rooms?",
        "GET /chat-rooms/{room_id}/members": f"/chat-rooms/{room}/members?",
        "GET /friends/requests": "/friends/requests?",
        "GET /users": "/users?q=user&",
        "GET /messages/{room_id}/{seq}/reactions/{emoji}": f"{message}/{_quoted(EMOJI[0])}?",
    }
    pages = {operation: server.call("GET", f"{path}limit=1", token=token) for operation, path in paths.items()}
    return {operation: page["next"] for operation, page in pages.items()}


def fill(server: Server) -> World:
    """Makes the world of a new server."""
    ids = {name: server.register(name)["id"] for name in (CALLER, *OTHERS)}
    logins: dict[str, Any] = {name: server.login(name) for name in (CALLER, *OTHERS[:5])}
    tokens = {name: login["access_token"] for name, login in logins.items()}
    token = tokens[CALLER]
    for name in OTHERS[5:]:
        server.register(f"user_{name}")
    friendships = _friendships(server, token, tokens, ids)
    rooms = _rooms(server, token, tokens, ids)
    spare = [server.login(CALLER, f"device {number}") for number in range(3)]
    sessions = [session_of(server, login["access_token"]) for login in spare]
    values: dict[str, list[str | int]] = {
        "rooms": [*rooms],
        "users": [*ids.values()],
        "users_or_sessions": [*ids.values(), *sessions],
        "lists_of_users": [",".join(list(ids.values())[:count]) for count in (1, 3, 9)],
        "friendships": [*friendships],
        # In a group the first four are no messages. The sixth is somebody else's, and the twelfth is deleted.
        "numbers": [5, 6, 7, 8, 9, 11, 12],
        "emoji": [*EMOJI],
        "names": [CALLER, *OTHERS],
        "prefixes": ["ad", "us", "user_"],
        "passwords": [PASSWORD],
        "refresh_tokens": [login["refresh_token"] for login in spare],
        "cursors": [CURSOR],
    }
    return World(token, [*sessions, session_of(server, token)], _cursors(server, token, rooms[0]), values)
