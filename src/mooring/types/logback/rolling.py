"""The rolling file: what is written where, when the next file begins, and which old ones go. All of it blocks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from mooring.errors import Misconfigured
from mooring.kit.log import log
from mooring.types.logback.date import start_of
from mooring.types.logback.folder import Folder, Found
from mooring.types.logback.naming import FileNames

LOCK_S = 3.0
LOCK_PAUSE_S = 0.02
AT_ONCE = 1024 * 1024


class Partly(Exception):
    """Only some lines were written, whole ones: `names` says for each into which file. The cause says why."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"{len(names)} lines were written")
        self.names = names


class RollingFile:
    """
    One log, of which one file at a time is written to. Used by one thread at a time.

    A file that is written to is locked, so that neither another connection nor another process of this machine
    writes into it. Files are begun under their final names and never renamed: rolling on is beginning the next.
    """

    def __init__(
        self,
        folder: Folder,
        names: FileNames,
        *,
        max_bytes: int,
        max_history: int = 0,
        cap_bytes: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._names, self._clock = folder, names, clock
        self._max_bytes, self._max_history, self._cap_bytes = max_bytes, max_history, cap_bytes
        self._descriptor: int | None = None
        self._name = ""
        self._index = 0
        self._size = 0
        self._period = ""
        self._period_until = 0.0

    def write(self, lines: Sequence[bytes]) -> list[str]:
        """
        Append *lines*, and say for each into which file; each stands whole in one file.

        Raises:
            Partly: some were written; the cause is the `OSError`. What was begun of a further line is taken back.
            OSError, Misconfigured: none was.
        """
        written: list[str] = []
        while len(written) < len(lines):
            try:
                self._ready()
                here = self._that_fit(lines, len(written))
                count = self._append(here)
            except (OSError, Misconfigured) as exc:
                if not written:
                    raise
                raise Partly(written) from exc
            written += [self._name] * count
        return written

    def close(self) -> None:
        """Bring what was written to the disk, and let go of the file. Safe twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def tidy(self) -> None:
        """Remove files of periods that are too long ago, and then the oldest until the rest is small enough."""
        if not self._max_history and not self._cap_bytes:
            return
        files = sorted(self._folder.files(self._names.pattern, self._names.depth), key=self._age)
        if self._max_history and self._names.unit is not None:
            now = self._names.now(self._clock())
            oldest = start_of(now, self._names.unit, self._max_history)
            files = [file for file in files if self._moment(file) >= oldest or not self._removed(file)]
        if self._cap_bytes:
            total = sum(file.size for file in files)
            for file in files:
                if total <= self._cap_bytes:
                    break
                if self._removed(file):
                    total -= file.size

    # which file

    def _ready(self) -> None:
        """Have the file open that the next line belongs into."""
        now = self._clock()
        if self._descriptor is not None:
            status = os.fstat(self._descriptor)
            self._size = status.st_size
            if status.st_nlink == 0 or self._is_over(now):
                self.close()
            elif self._names.indexed and self._size >= self._max_bytes:
                self.close()
                self._begin(self._index + 1)
                self._tidy_quietly()
        if self._descriptor is None:
            self._period, self._period_until = self._names.period(now), self._next_look(now)
            self._begin(self._highest(now))
            while self._names.indexed and self._size >= self._max_bytes:
                self.close()
                self._begin(self._index + 1)
            self._tidy_quietly()

    def _is_over(self, now: float) -> bool:
        """Whether the period of the open file has ended."""
        if now < self._period_until and now >= self._period_until - 1:
            return False
        self._period_until = self._next_look(now)
        return self._names.period(now) != self._period

    def _next_look(self, now: float) -> float:
        # No period is shorter than a second, so within one there is nothing to look at.
        return float(int(now) + 1)

    def _highest(self, now: float) -> int:
        if not self._names.indexed:
            return 0
        files = self._folder.files(self._names.pattern, self._names.depth)
        found = (self._names.index_of(file.name, now) for file in files)
        return max((index for index in found if index is not None), default=0)

    def _begin(self, index: int) -> None:
        name = self._names.name(self._clock(), index)
        descriptor = self._folder.append_to(name)
        try:
            _lock(descriptor, f"{self._folder}/{name}")
            self._size = os.fstat(descriptor).st_size
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor, self._name, self._index = descriptor, name, index

    # into it

    def _that_fit(self, lines: Sequence[bytes], start: int) -> list[bytes]:
        """The lines that go into this file at once: those that begin before it is full."""
        here: list[bytes] = []
        size, taken = self._size, 0
        for line in lines[start:]:
            if here and (taken + len(line) > AT_ONCE or (self._names.indexed and size >= self._max_bytes)):
                break
            here.append(line)
            size += len(line)
            taken += len(line)
        return here

    def _append(self, lines: list[bytes]) -> int:
        """Write *lines*; how many. Where the disk takes only a part, what is left is whole lines."""
        assert self._descriptor is not None
        data = memoryview(b"".join(lines))
        done = 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except OSError:
            whole, count = 0, 0
            while count < len(lines) and whole + len(lines[count]) <= done:
                whole += len(lines[count])
                count += 1
            if done > whole:
                os.ftruncate(self._descriptor, self._size + whole)
            self._size += whole
            if not count:
                raise
            return count
        self._size += done
        return len(lines)

    # old ones

    def _tidy_quietly(self) -> None:
        try:
            self.tidy()
        except OSError as exc:
            # Too many old files are no reason not to write a new line.
            log.warning("log_files_not_tidied", folder=str(self._folder), error=exc.strerror)

    def _age(self, file: Found) -> tuple[datetime, int]:
        return self._moment(file), self._names.index(file.name) or 0

    def _moment(self, file: Found) -> datetime:
        """When the file's period began, by its name, or by its last change where the name does not say."""
        named = self._names.moment(file.name)
        return named if named is not None else self._names.now(file.changed)

    def _removed(self, file: Found) -> bool:
        if file.name == self._name:
            return False
        try:
            self._folder.remove(file.name)
        except FileNotFoundError:
            return True
        except OSError as exc:
            log.warning("log_file_not_removed", file=file.name, error=exc.strerror)
            return False
        return True


def _lock(descriptor: int, path: str) -> None:
    """Lock the file, once whoever is about to let go of it has. Raises `Misconfigured`."""
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Misconfigured(
                    f"another connection, or another worker, writes to {path}",
                    hint="Give each its own logFileName or logPodName.",
                ) from None
        with contextlib.suppress(InterruptedError):
            time.sleep(LOCK_PAUSE_S)
