"""
Reading `multipart/form-data` (RFC 7578) that is in memory already, as forms with a file are sent.

Strict, and small: a body that does not follow the rules is refused, and nothing is guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_PARTS = 40
MAX_HEAD = 4096

_BOUNDARY = re.compile(r"""boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))(?:\s*;|\s*$)""")
_DISPOSITION = re.compile(rb"content-disposition:\s*form-data\s*;(.*)", re.IGNORECASE)
_PARAMETER = re.compile(rb';?\s*([a-z*]+)=(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)


class NotAForm(ValueError):
    """The body is not a form; the message says why and never quotes it."""


@dataclass(frozen=True)
class Part:
    """One field. `is_file` where it came with a file name."""

    name: str
    content: bytes
    is_file: bool

    @property
    def text(self) -> str:
        """The content as text. Raises `NotAForm`."""
        try:
            text = self.content.decode("utf-8")
        except UnicodeDecodeError:
            raise NotAForm("a field is not UTF-8") from None
        if "\0" in text:
            raise NotAForm("a field contains the NUL character")
        return text


def read_form(content_type: str, body: bytes) -> dict[str, Part]:
    """The fields of *body* by name. Raises `NotAForm`, also where a field stands twice."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise NotAForm("Content-Type names no boundary")
    line = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    # What stands before the first line counts for nothing, and what stands after the last one neither.
    pieces = (b"\r\n" + body).split(b"\r\n" + line, MAX_PARTS + 2)
    if len(pieces) > MAX_PARTS + 2:
        raise NotAForm(f"it has more than {MAX_PARTS} fields")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise NotAForm("its end is missing")
    parts: dict[str, Part] = {}
    for piece in pieces[1:-1]:
        part = _part(piece)
        if part.name in parts:
            raise NotAForm("a field stands more than once")
        parts[part.name] = part
    return parts


def _part(piece: bytes) -> Part:
    padding, newline, rest = piece.partition(b"\r\n")
    head, blank, content = rest.partition(b"\r\n\r\n")
    if padding.strip(b" \t") or not newline or not blank or len(head) > MAX_HEAD:
        raise NotAForm("a field has no proper head")
    for header in head.split(b"\r\n"):
        disposition = _DISPOSITION.fullmatch(header.strip())
        if disposition is not None:
            given = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(disposition[1])}
            name = given.get(b"name", b"").decode("utf-8", "replace")
            if name:
                return Part(name, content, b"filename" in given or b"filename*" in given)
    raise NotAForm("a field has no name")
