"""Writing log lines into rolling files on the worker: laid out on the event loop, written by one thread."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from mooring.errors import Busy, ConnectorError, Misconfigured, Unreachable
from mooring.plugin.connector import Answer, Connector, Context, operation
from mooring.plugin.probe import Probe
from mooring.types.logback.folder import Folder
from mooring.types.logback.layout import Entry, Layout
from mooring.types.logback.model import LogbackConfig
from mooring.types.logback.naming import FileNames
from mooring.types.logback.pattern import PatternError
from mooring.types.logback.rolling import Partly, RollingFile

MEGABYTE = 1024 * 1024
GIGABYTE = 1024 * MEGABYTE
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 64 * MEGABYTE
BATCH_BYTES = 4 * MEGABYTE
FLUSH_S = 5.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNWELL = (errno.EIO, errno.ESTALE, errno.ENODEV, errno.EMFILE, errno.ENFILE)

T = TypeVar("T")


class Logged(Answer):
    """A line that the operating system has: it outlives this worker. It is on the disk once the file is rolled or closed."""

    file: str = Field(description="The file that it stands in.")
    size: int = Field(description="Bytes of the line.")


class LogbackConnector(Connector[LogbackConfig]):
    """Appends lines in the order in which they came; those that wait are written together."""

    def __init__(self, config: LogbackConfig, context: Context) -> None:
        super().__init__(config, context)
        self._waiting: dict[asyncio.Future[str], bytes] = {}
        self._bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._file: RollingFile | None = None

    async def open(self) -> None:
        config = self.config
        try:
            self._layout = Layout(config.log_pattern, self.context.name)
            pod = config.log_pod_name or socket.gethostname()
            self._names = FileNames(config.log_file_name, pod, config.log_filename_pattern)
        except PatternError as exc:
            raise Misconfigured(f"a pattern cannot be used: {exc}", hint="Correct it.") from None
        # Where nothing is allowed, that is said when somebody wants to write, as with a folder that is not there.
        if self.context.allowed.logback_root is not None:
            self._folder()

    async def start(self) -> None:
        self._file = RollingFile(
            self._folder(),
            self._names,
            max_bytes=int(self.config.max_file_size) * MEGABYTE,
            max_history=int(self.config.max_history),
            cap_bytes=int(self.config.total_size_cap) * GIGABYTE,
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="logback")

    async def stop(self) -> None:
        writer, self._writer = self._writer, None
        thread, self._thread = self._thread, None
        file, self._file = self._file, None
        try:
            if writer is not None and not writer.done():
                await asyncio.wait([writer], timeout=FLUSH_S)
            if thread is not None and file is not None:
                with contextlib.suppress(OSError):
                    await asyncio.get_running_loop().run_in_executor(thread, file.close)
        finally:
            if writer is not None:
                writer.cancel()
            if thread is not None:
                thread.shutdown(wait=False)

    @operation
    async def send(self, request: Entry) -> Logged:
        """Write one line."""
        line = self._layout.line(request)
        if len(self._waiting) >= MAX_WAITING or self._bytes + len(line) > MAX_WAITING_BYTES:
            raise Busy(
                f"{len(self._waiting)} lines wait to be written already",
                hint="Log less, or find out why the disk is slow.",
            )
        written: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[written] = line
        self._bytes += len(line)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        try:
            name = await written
        finally:
            self._drop(written)
        return Logged(file=name, size=len(line))

    async def probe(self, probe: Probe) -> None:
        with _one_thread() as in_thread:
            async with probe.step("directory"):
                folder = self._folder()
                await in_thread(lambda: _visit(folder))
            async with probe.step("writable"):
                await in_thread(folder.try_writing)

    def translate(self, error: BaseException) -> ConnectorError | None:
        if not isinstance(error, OSError):
            return None
        root = self.context.allowed.logback_root
        if error.errno in _FULL:
            return Unreachable(
                f"there is no room for the log in {self.config.log_path}: {error.strerror}; the line was not written",
                hint="Free space, or set maxHistory and totalSizeCap; the next line is tried again.",
            )
        if error.errno in _UNWELL:
            return Unreachable(
                f"the log in {self.config.log_path} cannot be written now: {error.strerror}",
                hint="Look at the worker's disk; the next line is tried again.",
            )
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return Misconfigured(
                f"on the way to the log in {self.config.log_path} stands a link, or something that is no folder",
                hint="Links are not followed below the folder that the operator allows; make it a real folder.",
            )
        if error.errno == errno.ENOENT and root is not None and not root.is_dir():
            return Misconfigured(
                "the folder that this worker's operator allows for log files is not there",
                hint="Make the folder that MOORING_LOGBACK_ROOT names.",
            )
        return Misconfigured(
            f"the log in {self.config.log_path} cannot be written: {error.strerror}",
            hint="Let the worker's user write there.",
        )

    def _folder(self) -> Folder:
        root = self.context.allowed.logback_root
        if root is None:
            raise Misconfigured(
                "this worker may not write log files",
                hint="Its operator allows a folder for them with MOORING_LOGBACK_ROOT.",
            )
        return Folder(Path(root), self.config.log_path)

    async def _write(self) -> None:
        thread, file = self._thread, self._file
        assert thread is not None and file is not None
        folder = self._folder()
        loop = asyncio.get_running_loop()
        while self._waiting:
            taken = self._take()
            names: list[str] = []
            failure: BaseException | None = None
            try:
                names = await loop.run_in_executor(thread, file.write, list(taken.values()))
            except Partly as exc:
                names, failure = exc.names, exc.__cause__
            except Exception as exc:
                failure = exc
            for number, written in enumerate(taken):
                if written.done():
                    continue  # whoever asked did not wait for it
                if number < len(names):
                    written.set_result(f"{folder}/{names[number]}")
                else:
                    assert failure is not None
                    written.set_exception(self._explained(failure))

    def _explained(self, error: BaseException) -> BaseException:
        return error if isinstance(error, ConnectorError) else self.translate(error) or error

    def _take(self) -> dict[asyncio.Future[str], bytes]:
        taken: dict[asyncio.Future[str], bytes] = {}
        size = 0
        for written, line in self._waiting.items():
            if taken and size + len(line) > BATCH_BYTES:
                break
            taken[written] = line
            size += len(line)
        for written in taken:
            self._drop(written)
        return taken

    def _drop(self, written: asyncio.Future[str]) -> None:
        line = self._waiting.pop(written, None)
        if line is not None:
            self._bytes -= len(line)


@contextlib.contextmanager
def _one_thread():  # type: ignore[no-untyped-def]  # a function that runs another in the thread
    thread = ThreadPoolExecutor(1, thread_name_prefix="logback-probe")

    async def run(work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, work)

    try:
        yield run
    finally:
        thread.shutdown(wait=False)


def _visit(folder: Folder) -> None:
    with folder.opened():
        pass
