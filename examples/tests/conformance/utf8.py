"""The UTF-8 sequences of the Autobahn cases 6.5 to 6.23, which are those of Markus Kuhn's UTF-8 stress test, in Autobahn's order.

What is valid is what RFC 3629 says: Python's own decoder is not asked.
"""

from __future__ import annotations

KAPPA = bytes.fromhex("ceba e1bdb9 cf83 cebc ceb5")
# The prefixes of KAPPA that end where a character ends.
WHOLE = {2, 5, 7, 9, 11}

LAST_MISSING = [
    bytes.fromhex(text)
    for text in ("c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf")
]


def _hex(valid: bool, *sequences: str) -> list[tuple[bool, bytes]]:
    return [(valid, bytes.fromhex(sequence)) for sequence in sequences]


def _lonely(first: int, last: int) -> tuple[bool, bytes]:
    return False, b"".join(bytes([byte, 0x20]) for byte in range(first, last))


def _non_characters() -> list[tuple[bool, bytes]]:
    sequences = ["efbfbe", "efbfbf"]
    for first in ("f0", "f1", "f2", "f3", "f4"):
        for second in ("8f", "9f", "af", "bf"):
            beyond = first == "f4" and second != "8f"
            overlong = first == "f0" and second == "8f"
            if not beyond and not overlong:
                sequences += [f"{first}{second}bf{third}" for third in ("be", "bf")]
    return _hex(True, *sequences)


# From section 6.5 on: what it is about, and its sequences, each with whether it is valid.
SECTIONS: list[tuple[str, list[tuple[bool, bytes]]]] = [
    (
        "valid UTF-8",
        [
            (True, b"hello" + middle + b"world")
            for middle in (b"\x24", b"\xc2\xa2", b"\xe2\x82\xac", b"\xf0\xa4\xad\xa2")
        ]
        + [(True, KAPPA)],
    ),
    ("every prefix of a valid string", [(size in WHOLE, KAPPA[:size]) for size in range(1, len(KAPPA) + 1)]),
    ("first sequence of a length", _hex(True, "00", "c280", "e0a080", "f0908080")),
    ("first sequence of length 5 and 6", _hex(False, "f888808080", "fc8480808080")),
    ("last sequence of a length", _hex(True, "7f", "dfbf", "efbfbf", "f48fbfbf")),
    ("last sequence of length 4, 5 and 6", _hex(False, "f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf")),
    ("other boundaries", _hex(True, "ed9fbf", "ee8080", "efbfbd", "f48fbfbf") + _hex(False, "f4908080")),
    (
        "unexpected continuation bytes",
        _hex(False, "80", "bf", "80bf", "80bf80", "80bf80bf", "80bf80bf80", "80bf80bf80bf")
        + [(False, bytes(range(0x80, 0xBF)))],
    ),
    (
        "lonely first bytes",
        [_lonely(*ends) for ends in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))],
    ),
    ("last continuation byte missing", [(False, sequence) for sequence in LAST_MISSING]),
    ("incomplete sequences in a row", [(False, b"".join(LAST_MISSING))]),
    ("impossible bytes", _hex(False, "fe", "ff", "fefeffff")),
    ("overlong ASCII", _hex(False, "c0af", "e080af", "f08080af", "f8808080af", "fc80808080af")),
    ("longest overlong sequences", _hex(False, "c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf")),
    ("overlong NUL", _hex(False, "c080", "e08080", "f0808080", "f880808080", "fc8080808080")),
    ("single surrogates", _hex(False, "eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf")),
    (
        "pairs of surrogates",
        _hex(False, "eda080edb080", "eda080edbfbf", "edadbfedb080", "edadbfedbfbf")
        + _hex(False, "edae80edb080", "edae80edbfbf", "edafbfedb080", "edafbfedbfbf"),
    ),
    ("non-characters", _non_characters()),
    ("specials", _hex(True, "efbfb9", "efbfba", "efbfbb", "efbfbc", "efbfbd", "efbfbe", "efbfbf")),
]
