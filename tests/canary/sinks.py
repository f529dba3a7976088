"""Where a secret could come to light: files, processes, texts. Each is searched, and a finding says where it is."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from tests.canary.words import Search

PIECE = 16 * 1024 * 1024
OVERLAP = 512
EXCLUDED = {
    "fake-vault": "what a vault holds is there to be held",
    "server": "a real server's own files",
}
"""Folders that are not searched, and why a secret may lie there."""


def in_folder(search: Search, folder: Path, *, but: Collection[str] = ()) -> list[str]:
    """Findings in every file below *folder*: databases, their logs, caches, identities, what was printed to a file."""
    return [
        f"{path.relative_to(folder)}: {found}"
        for path in _files(folder)
        if path.name not in but and not EXCLUDED.keys() & set(path.relative_to(folder).parts)
        for found in [_in_file(search, path)]
        if found
    ]


def _files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _in_file(search: Search, path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            before = b""
            while piece := file.read(PIECE):
                found = search.found_in(before + piece)
                if found:
                    return found
                before = piece[-OVERLAP:]
    except OSError:  # gone meanwhile
        return None
    return None


def in_processes(search: Search, group: int, *, environment: bool = True) -> list[str]:
    """Findings in arguments, and in the environment, of every process of the group *group*."""
    findings = []
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdigit() or os.getpgid(int(folder.name)) != group:
                continue
            for name in ("cmdline", "environ") if environment else ("cmdline",):
                found = search.found_in((folder / name).read_bytes())
                if found:
                    findings.append(f"{name} of process {folder.name}: {found}")
        except OSError:  # ended meanwhile
            continue
    return findings
