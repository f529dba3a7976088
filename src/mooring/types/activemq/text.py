"""Texts as Java writes them: UTF-8, but for zeros and for letters beyond the first 65,536."""

from __future__ import annotations

import struct


def to_java(text: str) -> bytes:
    """*text* with two bytes for a zero, and a pair of surrogates, three bytes each, for a letter that needs four."""
    if text.isascii() and "\0" not in text:
        return text.encode("ascii")
    pairs = text.encode("utf-16-be", "surrogatepass")
    if len(pairs) == 2 * len(text) and "\0" not in text:
        return text.encode("utf-8", "surrogatepass")
    units = struct.unpack(f">{len(pairs) // 2}H", pairs)
    return "".join(map(chr, units)).encode("utf-8", "surrogatepass").replace(b"\x00", b"\xc0\x80")


def from_java(data: bytes) -> str:
    """The text in *data*, which may also be plain UTF-8. Raises `UnicodeDecodeError`. A lone surrogate gets a stand-in."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        units = data.replace(b"\xc0\x80", b"\x00").decode("utf-8", "surrogatepass")
        return units.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "replace")
