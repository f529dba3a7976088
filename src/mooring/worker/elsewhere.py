"""
Secrets that live elsewhere: `${env:NAME}`, `${file:path}` and `${vault:path#key}`, read on the worker.

What may be read is the operator's to say, and nothing by default: environment names by their beginning, files below one
folder, Vault paths below a prefix for each project. A reference that leads nowhere is never used as it stands.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from mooring.worker.vault import NotInVault, Vault

MAX_FILE = 64 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_OWN = "MOORING_"
_SHOWN = 120


class NotRead(Exception):
    """
    A secret that cannot be read, as a person needs to know it.

    `again`: it may be there later. `reference` is what stands between the braces.
    """

    reference = ""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.message, self.again = message, again


class Elsewhere:
    """The places that this worker may read secrets from."""

    def __init__(
        self,
        env_prefix: str = "",
        folder: Path | None = None,
        vault: Vault | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._prefix, self._folder, self._vault = env_prefix, folder, vault
        self._environ = os.environ if environ is None else environ

    async def read(self, project: str, references: Iterable[str], *, fresh: bool = False) -> dict[str, str]:
        """
        The secret behind each of *references*, which are what stands between the braces.

        *fresh*: as it is now, not as it was remembered. Raises `NotRead` for the first that is not there.
        """
        wanted = list(dict.fromkeys(references))
        found = await asyncio.gather(*(self._one(project, each, fresh) for each in wanted))
        return dict(zip(wanted, found, strict=True))

    async def _one(self, project: str, reference: str, fresh: bool) -> str:
        kind, _, place = reference.partition(":")
        try:
            if kind == "env":
                return self._variable(place)
            if kind == "file":
                return await asyncio.to_thread(self._file, place)
            return await self._in_vault(project, place, fresh)
        except NotRead as exc:
            exc.reference = reference
            raise

    async def close(self) -> None:
        """Let go of sockets. Safe twice."""
        if self._vault is not None:
            await self._vault.close()

    def _variable(self, name: str) -> str:
        shown = f"the environment variable {name[:_SHOWN]}"
        if not self._prefix or not name.startswith(self._prefix) or not _NAME.fullmatch(name) or name.startswith(_OWN):
            raise NotRead(f"this worker does not give out {shown}; MOORING_SECRET_ENV_PREFIX says which", again=False)
        value = self._environ.get(name)
        if not value:
            raise NotRead(f"{shown} is not set on this worker; set it and start the worker again", again=False)
        return value

    def _file(self, place: str) -> str:
        if self._folder is None:
            raise NotRead("this worker reads no files; MOORING_SECRET_FILES names the folder that it may", again=False)
        shown = f"the file {place[:_SHOWN]}"
        try:
            raw = _content(self._folder, place)
        except _Outside:
            raise NotRead(f"{shown} is not below the folder that this worker may read", again=False) from None
        except OSError as exc:
            raise NotRead(f"{shown} cannot be read: {exc.strerror}; put it there") from None
        if len(raw) > MAX_FILE:
            raise NotRead(f"{shown} is larger than {MAX_FILE // 1024} KiB")
        try:
            # Editors, and `echo`, end a file with a line end that is no part of the secret.
            text = raw.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise NotRead(f"{shown} is not UTF-8 text") from None
        if not text or "\0" in text:
            raise NotRead(f"{shown} is empty, or no text")
        return text

    async def _in_vault(self, project: str, place: str, fresh: bool) -> str:
        if self._vault is None:
            raise NotRead("this worker knows no Vault; MOORING_VAULT_URL says where it is", again=False)
        try:
            return await self._vault.read(project, place, fresh=fresh)
        except NotInVault as exc:
            raise NotRead(exc.message, again=exc.again) from None


class _Outside(Exception):
    """It leads out of the folder."""


def _content(folder: Path, place: str) -> bytes:
    """
    The first bytes of the file *place* below *folder*.

    Links inside of the folder are followed, as Kubernetes mounts its secrets; one that leads out of it is not. What was
    found is then opened step by step without following any, so that nothing can be put in its way meanwhile.
    """
    if not place or "\0" in place or place.startswith(("/", "\\")) or ".." in place.replace("\\", "/").split("/"):
        raise _Outside
    root = folder.resolve()
    found = (root / place).resolve(strict=True)
    if not found.is_relative_to(root) or found == root:
        raise _Outside
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        parts = found.relative_to(root).parts
        for number, part in enumerate(parts):
            kind = os.O_NONBLOCK if number == len(parts) - 1 else os.O_DIRECTORY
            inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=handle)
            os.close(handle)
            handle = inner
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _Outside
        content = b""
        while len(content) <= MAX_FILE:
            piece = os.read(handle, MAX_FILE + 1 - len(content))
            if not piece:
                break
            content += piece
        return content
    finally:
        os.close(handle)
