"""
References in texts: `${name}` stands for a variable, `${env:NAME}`, `${file:path}` and `${vault:path#key}` for a secret
that lives elsewhere, and `$${` for `${` itself.

They are read in one pass. What was put in place of a reference is not looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}")
_NAME = re.compile(r"[^\W\d][\w.-]*")
_SCHEMES = ("env:", "file:", "vault:")
_OPENS = re.compile(r"(?<!\$)\$\{(?:env|file|vault):")
MAX_NAME = 255


def references_in(text: str) -> list[str]:
    """What stands between the braces of every reference in *text*."""
    if "${" not in text:
        return []
    return [match[1] for match in _TOKEN.finditer(text) if match[1] is not None]


def is_secret_reference(inner: str) -> bool:
    """Whether a reference leads to a secret elsewhere, and not to a variable."""
    return inner.startswith(_SCHEMES)


def opens_secret_references(text: str) -> int:
    """How many references to secrets begin in *text*, whether or not they end there."""
    return len(_OPENS.findall(text))


def substitute(text: str, value_of: Callable[[str], str]) -> str:
    """*text* with *value_of* what stands between the braces in place of every reference."""
    if "${" not in text:
        return text
    return _TOKEN.sub(lambda match: "${" if match[1] is None else value_of(match[1]), text)


def why_not_a_variable(name: str) -> str | None:
    """The reason why no reference could lead to a variable called *name*, or None."""
    if len(name) > MAX_NAME:
        return f"it is longer than {MAX_NAME} characters"
    if not _NAME.fullmatch(name):
        return "it must begin with a letter or _, and go on with letters, digits, '_', '.' and '-'"
    return None
