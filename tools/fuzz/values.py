"""Odd values: what breaks programs that read it, and what would harm those that believe it."""

from __future__ import annotations

import copy
import random
from typing import Any

from tools.fuzz.oracle import CANARY

TEXTS: tuple[str, ...] = (
    "", " ", "\t", "\n", "a\r\nX-Evil: 1", "\0", "\x7f", "\x85", "\u2028", "\ufeff", "\u200b", "\ue000", "\ud800", "ıİğşçöü", "ﬁ", "ſ", "é", "e\u0301", "🦑",
    "null", "true", "NaN", "-0", "0", "1e999", "007", "١٢", "9" * 30, "9" * 5000, "-1", "65536", "2147483648", "${X}", "${env:HOME}", "${file:/etc/passwd}",
    "${vault:secret/a#b}", "$${X}", "${", "${${X}}", "__secret__", "a__secret__b", "../../etc/passwd", "..\\..\\x", "/etc/passwd", "C:\\x", "\\\\evil\\x", "file:///etc/passwd",
    "%00", "%2e%2e%2f", "%s%n%x", "{0}", "{{7*7}}", "<script>", "' OR 1=1 --", "\"; DROP TABLE x; --", "`id`", "$(id)", "|id", ";id", "&&id", "-oProxyCommand=id",
    "*)(uid=*", "cn=a,dc=b", "\\00", "http://169.254.169.254/", "http://[::1]:1/", "http://u:p@h/", "https://h/?token=x", "jdbc:h2:mem:x;INIT=x", "jdbc:postgresql://h/d?socketFactory=x",
    "ldap://evil/x", "failover:(tcp://a,vm://b)", "vm://x?brokerConfig=xbean:http://evil", "tcp://h:1", "localhost", "127.0.0.1", "::1", "[::1]", "h:1", "a" * 255, "a" * 256, "a" * 1001,
    "a" * 40_000, "😀" * 300, "(" * 300, "[" * 300, "%d{" * 60, "a," * 600, "1.3.6.1", "1." * 200, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "AAAA", "=", "A===", "QUJD",
    "POSTGRES", "TLS", "SSL", "STRING", "SECRET", "development", "MyProject", "1970-01-01T00:00:00Z", "Europe/Istanbul", "%d{yyyy-MM-dd} %msg%n", "_class", "__proto__", "constructor",
)  # fmt: skip

OTHERS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.0, -0.0, 0.5, 1e308, 1e-320, 65535, 65536, 2**31 - 1, 2**31, -(2**31) - 1, 2**53, 2**53 + 1, -(2**53), 2**63, 2**64, 10**400, 1.0, 80.0,
    [], {}, [None], [[]], [{}], {"": ""}, {"a": None}, [1, "a", None, {}], {"name": "a", "value": "b"}, {"key": "a", "value": "b"}, {"value": "a", "valueType": "STRING"}, {"$ref": "#"},
)  # fmt: skip


def text(random: random.Random) -> str:
    """A text: one of the odd ones, or letters."""
    chance = random.random()
    if chance < 0.6:
        return random.choice(TEXTS)
    if chance < 0.8:
        return f"{CANARY}{random.choice(TEXTS)}"
    if chance < 0.9:
        return CANARY + "".join(
            chr(random.choice((random.randrange(32, 127), random.randrange(0x11_0000))))
            for _ in range(random.randrange(12))
        )
    return f"{random.choice(TEXTS)}{CANARY}"


def value(random: random.Random, depth: int = 0) -> Any:
    """Any JSON value, and some that are none."""
    chance = random.random()
    if chance < 0.5:
        return text(random)
    if chance < 0.85:
        return copy.deepcopy(random.choice(OTHERS))
    if chance < 0.9:
        return random.choice(
            (float("nan"), float("inf"), -float("inf"), random.randrange(-(2**70), 2**70), random.uniform(-1e12, 1e12))
        )
    if chance < 0.92:
        return nested(random, random.choice((5, 30, 31, 32, 33, 200)))
    if depth > 2:
        return None
    size = random.choice((0, 1, 2, 3, 20, 300)) if random.random() < 0.1 else random.randrange(4)
    if chance < 0.96:
        return [value(random, depth + 1) for _ in range(size)]
    return {key(random): value(random, depth + 1) for _ in range(size)}


def key(random: random.Random) -> str:
    """A key: those of refused ones are named in answers, so there is no canary in it."""
    return random.choice(("name", "value", "key", "type", "id", text(random).replace(CANARY, "")))


def nested(random: random.Random, depth: int) -> Any:
    """Something inside something, *depth* times."""
    made: Any = random.choice((None, "a", 1))
    for _ in range(depth):
        made = [made] if random.random() < 0.5 else {"a": made}
    return made
