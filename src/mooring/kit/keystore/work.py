"""
How much work a password would be: read off a file before anything is derived.

A file says itself how often its password is hashed. Java writes 10,000, OpenSSL 2,048, careful people up to some
hundred thousand; `MAX_WORK` for the file as a whole leaves room above that (three derivations of a million rounds)
and is a few seconds of one processor. A file that asks for billions is refused without a single round.
"""

from __future__ import annotations

from mooring.kit.keystore.ber import OCTETS, SEQUENCE, Node, NotBer
from mooring.kit.keystore.opened import Unreadable

MAX_WORK = 3_000_000
MAX_SCRYPT_BYTES = 128 * 1024 * 1024

_PBES2, _PBMAC1 = "1.2.840.113549.1.5.13", "1.2.840.113549.1.5.14"
_PBKDF2, _SCRYPT = "1.2.840.113549.1.5.12", "1.3.6.1.4.1.11591.4.11"
_PBES1 = ("1.2.840.113549.1.5.", "1.2.840.113549.1.12.1.")


class Budget:
    """Adds up the rounds that a file asks for. Raises `Unreadable` where they are too many."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def spend(self, rounds: int) -> None:
        """So many more rounds."""
        if rounds < 0:
            raise NotBer("a number in it is negative")
        self._left -= rounds
        if self._left < 0:
            raise Unreadable("file", f"its password would have to be hashed more than {MAX_WORK:,} times")

    def algorithm(self, node: Node) -> None:
        """What an AlgorithmIdentifier asks for. What is no password-based algorithm asks for nothing."""
        node.expect(SEQUENCE, 1)
        name, parameters = node.children[0].oid(), node.children[1:]
        if name in (_PBES2, _PBMAC1):
            _first(parameters).expect(SEQUENCE, 1)
            self.algorithm(parameters[0].children[0])
        elif name == _PBKDF2:
            _first(parameters).expect(SEQUENCE, 2)
            rest = parameters[0].children[1:]
            length = next((child.number() for child in rest[1:2] if child.tag == 2), 0)
            self.spend(rest[0].number() * max(1, -(-length // 32)))
        elif name == _SCRYPT:
            _first(parameters).expect(SEQUENCE, 4)
            cost, block, parallel = (child.number() for child in parameters[0].children[1:4])
            if cost * block * 128 > MAX_SCRYPT_BYTES:
                raise Unreadable("file", "its password would have to be hashed in more memory than is allowed")
            self.spend(cost * block * parallel)
        elif name.startswith(_PBES1):
            _first(parameters).expect(SEQUENCE, 2)
            self.spend(parameters[0].children[1].number())

    def encrypted_key(self, node: Node) -> None:
        """What an EncryptedPrivateKeyInfo asks for."""
        node.expect(SEQUENCE, 2)
        node.children[1].expect(OCTETS)
        self.algorithm(node.children[0])


def _first(parameters: list[Node]) -> Node:
    if not parameters:
        raise NotBer("a part of it is missing")
    return parameters[0]
