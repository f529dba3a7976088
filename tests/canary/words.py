"""
Canaries: secrets that are recognised wherever they turn up, in whatever spelling.

All begin alike, so that one search for that beginning finds every one of them.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable

MARK = "mrgCanaryBird"
_numbers = itertools.count(1)


def canary(label: str = "secret") -> str:
    """A secret of its own for one field of one test; *label* says in a finding where it came from."""
    return f"{MARK}-{label}-{next(_numbers)}"


def spellings(word: str) -> dict[str, bytes]:
    """How *word* may be spelt in a sink: encoding to the bytes that every text with it in that encoding contains."""
    raw = word.encode()
    found = {
        "raw": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "url": "".join(f"%{byte:02x}" for byte in raw).encode(),
        "URL": "".join(f"%{byte:02X}" for byte in raw).encode(),
        "json": "".join(f"\\u{ord(letter):04x}" for letter in word).encode(),
        "JSON": "".join(f"\\u{ord(letter):04X}" for letter in word).encode(),
        "utf-16": word.encode("utf-16-le"),
        "repr of hex escapes": "".join(f"\\x{byte:02x}" for byte in raw).encode(),
    }
    for offset in range(3):
        # Letters that depend on what stands before or after are left out.
        padded = bytes(offset) + raw
        first, last = (offset * 8 + 5) // 6, len(padded) * 8 // 6
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            found[f"{name}, offset {offset}"] = encode(padded)[first:last]
    return found


class Search:
    """Looks for words in bytes: a plain search for each spelling, which is what the machine is quickest at."""

    def __init__(self, words: Iterable[str] = (MARK,)) -> None:
        self._patterns = {pattern: name for word in words for name, pattern in spellings(word).items()}

    def found_in(self, data: bytes) -> str | None:
        """In which spelling one of the words stands in *data*, and at which byte; None where none does."""
        for pattern, name in self._patterns.items():
            at = data.find(pattern)
            if at >= 0:
                return f"{name} at byte {at}"
        return None
