"""A folder below the operator's root, reached step by step so that no link on the way leads out of it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mooring.errors import Misconfigured

FOLDER_MODE = 0o750
FILE_MODE = 0o640
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""O_NONBLOCK: opening a pipe that somebody put there must fail instead of waiting."""


@dataclass(frozen=True)
class Found:
    """A file that was found: its name relative to the folder, its size, and when it was last written."""

    name: str
    size: int
    changed: float


class Folder:
    """
    The folder at *path*, which must be below *root*; a relative one begins there.

    Every step is opened relative to the one before, and none through a symbolic link: whoever may write below the
    root cannot lead us out of it, not even between two steps. Only the root itself may be, or stand behind, a link.
    """

    def __init__(self, root: Path, path: str) -> None:
        self.root = root
        self.parts = _below(root, path)

    def __str__(self) -> str:
        return str(self.root.joinpath(*self.parts))

    @contextlib.contextmanager
    def opened(self, *more: str, make: bool = True) -> Iterator[int]:
        """A descriptor of the folder, or of the one *more* steps further. Raises `OSError`."""
        if make:
            # Itself, and not what it stands in: a disk that is not mounted must not be mistaken for an empty one.
            with contextlib.suppress(FileExistsError):
                self.root.mkdir(FOLDER_MODE)
        # The root is the operator's, so it may be a link.
        current = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in (*self.parts, *more):
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, FOLDER_MODE, dir_fd=current)
                further = os.open(part, _FOLDER, dir_fd=current)
                os.close(current)
                current = further
            yield current
        finally:
            os.close(current)

    def append_to(self, name: str) -> int:
        """A descriptor of the file *name*, made if it is not there, to write at its end. Raises `OSError`."""
        *folders, last = name.split("/")
        with self.opened(*folders) as folder:
            descriptor = os.open(last, _APPEND, FILE_MODE, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Misconfigured(
                f"{self}/{name} is not a file", hint="Look what stands there, or choose another logFileName."
            )
        return descriptor

    def remove(self, name: str) -> None:
        """Remove the file *name*, and the folders on the way that this leaves empty. Raises `OSError`."""
        *folders, last = name.split("/")
        with self.opened(*folders, make=False) as folder:
            os.unlink(last, dir_fd=folder)
        while folders:
            last = folders.pop()
            with self.opened(*folders, make=False) as folder, contextlib.suppress(OSError):
                os.rmdir(last, dir_fd=folder)

    def files(self, matching: re.Pattern[str], depth: int) -> list[Found]:
        """The files whose relative name matches, *depth* folders down. Links are not followed."""
        found: list[Found] = []
        with contextlib.suppress(FileNotFoundError), self.opened(make=False) as folder:
            _collect(folder, "", depth, matching, found)
        return found

    def try_writing(self) -> None:
        """Make a file in the folder, write into it and remove it again. Raises `OSError`."""
        name = f".mooring-{secrets.token_hex(8)}"
        with self.opened() as folder:
            descriptor = os.open(name, _APPEND | os.O_EXCL, 0o600, dir_fd=folder)
            try:
                os.write(descriptor, b"\n")
            finally:
                os.close(descriptor)
                os.unlink(name, dir_fd=folder)


def _collect(folder: int, prefix: str, depth: int, matching: re.Pattern[str], found: list[Found]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if depth and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    below = os.open(entry.name, _FOLDER, dir_fd=folder)
                    try:
                        _collect(below, f"{prefix}{entry.name}/", depth - 1, matching, found)
                    finally:
                        os.close(below)
            elif (
                not depth
                and matching.fullmatch(prefix + entry.name) is not None
                and entry.is_file(follow_symlinks=False)
            ):
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    found.append(Found(prefix + entry.name, status.st_size, status.st_mtime))


def _below(root: Path, path: str) -> tuple[str, ...]:
    """The steps from *root* to *path*. Raises `Misconfigured` where it is not below."""
    wanted = PurePosixPath(path)
    if wanted.is_absolute():
        for start in (PurePosixPath(root), PurePosixPath(os.path.realpath(root))):
            if wanted.is_relative_to(start):
                wanted = wanted.relative_to(start)
                break
        else:
            raise Misconfigured(
                "logPath is not below the folder that this worker's operator allows for log files",
                hint="Choose a path below it (a relative one begins there), or set MOORING_LOGBACK_ROOT on the worker.",
            )
    if ".." in wanted.parts:
        raise Misconfigured("logPath must not contain '..'", hint="Write the path out.")
    return wanted.parts
