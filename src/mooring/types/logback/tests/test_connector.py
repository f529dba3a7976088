"""Writing rolling files, beside Logback itself, and on disks and folders that misbehave."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.logback import Event, RealLogback, logback
from tests.support.logs import held

from mooring.errors import Busy, ConnectorError, Misconfigured, Unreachable
from mooring.plugin.connector import Allowed
from mooring.testing.live import connected
from mooring.types.logback import connector, rolling
from mooring.types.logback.folder import Folder
from mooring.types.logback.layout import Entry, Layout
from mooring.types.logback.naming import FileNames
from mooring.types.logback.rolling import Partly, RollingFile

__all__ = ["logback"]

MEGABYTE = 1024 * 1024
GIGABYTE = 1024 * MEGABYTE


def body(folder: Path | str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "logback", "name": "log", "logPath": str(folder), "logFileName": "orders", "logPodName": "pod-1",
        "logPattern": "%msg%n", **fields,
    }  # fmt: skip


def allowed(root: Path) -> Allowed:
    return Allowed(logback_root=root)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def lines_in(folder: Path) -> list[str]:
    return [line for name in names_in(folder) for line in (folder / name).read_text().splitlines()]


def files(
    folder: Path, pattern: str = "%d{yyyy-MM-dd}.%i.log", *, max_bytes: int = MEGABYTE, **limits: Any
) -> RollingFile:
    return RollingFile(Folder(folder, "."), FileNames("orders", "pod-1", pattern), max_bytes=max_bytes, **limits)


async def failure(config: dict[str, Any], root: Path | None, text: str = "hello") -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        async with connected(config, allowed=Allowed(logback_root=root)) as guard:
            await guard.use("send", {"text": text})
    return caught.value


@contextmanager
def in_zone(zone: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


# lines, as Logback lays them out

MOMENTS = [0, 1767225599999, 1767225600000, 1738368000123, 1704067200999, 1782907445050, 1735516800000, 1709210096789]
DATES = [
    "%d", "%d{ISO8601}", "%d{yyyy-MM-dd HH:mm:ss.SSS}", "%d{yy M d D E w a H h m s S}", "%d{MMM MMMM EEE EEEE}",
    "%d{MMMMM EEEEE}", "%d{hh:mm a}", "%d{SS SSSSSS SSSSSSSSS}", "%d{Z}", "%d{ZZZZ ZZZZZ}", "%d{X XX XXX XXXX XXXXX}",
    "%d{z}", "%d{DDD ww yyyy}", "%d{HH:mm, UTC}", "%d{HH:mm z, America/New_York}", "%d{HH:mm Z, GMT+05:30}",
    '%d{"HH:mm:ss,SSS"}', "%d{yyyy-MM-dd'T'HH:mm:ss''}", "%d{yyyyy}", "%d{y}",
]  # fmt: skip
TEXTS = [
    "%d{yyyy-MM-dd HH:mm:ss.SSS}[%m]%n", "%-5level|%level", "%5level|%.3level|%.-3level", "%10.5msg|", "%-10.5msg|",
    "%20.-30msg|", "%logger{0}", "%logger{1}", "%logger{5}", "%logger{10}", "%logger{20}", "%logger{36}",
    "%-40.10logger|", "%thread", "%.2thread", r"\%m %m", "%msg%n%n", r"a\(b\)%m",
]  # fmt: skip
LOGGERS = [
    "com.example.orders.Checkout",
    "single",
    "a.b.c",
    "x..y.Long",
    "com.example.",
    "org.a.long.chain.of.packages.C",
]


def ours(event: Event) -> str:
    moment = datetime.fromtimestamp(event.millis / 1000, UTC)
    entry = Entry(
        text=event.message, level=event.level, logger=event.logger, thread=event.thread, timestamp=moment  # type: ignore[arg-type]  # a datetime, which pydantic takes
    )  # fmt: skip
    return Layout(event.pattern, "x").line(entry).decode()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_dates_are_those_of_logback(logback: RealLogback, zone: str) -> None:
    """Every letter of a date pattern writes what Logback writes, in several time zones."""
    events = [Event(pattern, moment) for pattern in DATES for moment in MOMENTS]

    with in_zone(zone):
        found = [ours(event) for event in events]

    assert found == logback.lines(events, zone)


def test_lines_are_those_of_logback(logback: RealLogback) -> None:
    """Words, widths, limits and shortened logger names come out as Logback writes them."""
    events = [
        Event(pattern, 0, level, logger, thread, message)
        for pattern in TEXTS
        for level in ("INFO", "WARN", "TRACE")
        for logger in LOGGERS
        for thread, message in (("main", "hello"), ("http-nio-8080-exec-1", "a longer message é that is long"))
    ]

    with in_zone("UTC"):
        found = [ours(event) for event in events]

    assert found == logback.lines(events)


@pytest.mark.parametrize(
    "pattern",
    [
        "%d{yyyy-MM-dd}.%i.log",
        "%d{yyyy-MM-dd_HH}-%i.txt",
        "%d{yyyy-DDD}.%i.log",
        "%d{yyyy/MM, aux}/x.%d{yyyyMMdd}.%i.log",
    ],
)
def test_rolled_files_are_those_of_logback(logback: RealLogback, tmp_path: Path, pattern: str) -> None:
    """The same lines end up in files of the same names and sizes."""
    for folder in ("theirs", "ours"):
        (tmp_path / folder).mkdir()

    with in_zone("UTC"):
        logback.roll(f"{tmp_path}/theirs/orders-pod-1-{pattern}", max_bytes=100_000, count=1000, length=1023)
        file = files(tmp_path / "ours", pattern, max_bytes=100_000)
        for _ in range(20):
            file.write([b"m" * 1023 + b"\n"] * 50)
        file.close()

    found, theirs = (
        {name: (tmp_path / folder / name).stat().st_size for name in names_in(tmp_path / folder)}
        for folder in ("ours", "theirs")
    )
    assert found == theirs
    assert len(found) == 11


@pytest.mark.parametrize(
    ("pattern", "step", "name"),
    [
        ("%d{yyyy-MM-dd}.%i.log", timedelta(days=1), "%Y-%m-%d"),
        ("%d{yyyy-MM-dd_HH}.%i.log", timedelta(hours=1), "%Y-%m-%d_%H"),
        ("%d{yyyy/MM/dd}.%i.log", timedelta(days=1), "%Y/%m/%d"),
    ],
)
def test_old_files_go_as_with_logback(
    logback: RealLogback, tmp_path: Path, pattern: str, step: timedelta, name: str
) -> None:
    """maxHistory leaves the files, and the folders, that Logback leaves."""
    now = datetime.now(UTC)
    for folder in ("theirs", "ours"):
        for ago in range(12):
            for index in range(2):
                path = tmp_path / folder / f"orders-pod-1-{(now - ago * step).strftime(name)}.{index}.log"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("x\n")

    with in_zone("UTC"):
        theirs = f"{tmp_path}/theirs/orders-pod-1-{pattern}"
        logback.roll(theirs, max_bytes=100_000, count=1, length=10, max_history=3)
        file = files(tmp_path / "ours", pattern, max_history=3)
        file.write([b"mmmmmmmmmm\n"])
        file.close()

    assert names_in(tmp_path / "ours") == names_in(tmp_path / "theirs")
    assert len(names_in(tmp_path / "ours")) == 8


# writing


async def test_a_line_stands_in_its_file(tmp_path):
    """A message is laid out by the pattern, in a file that is called by the formula; the answer says which."""
    config = body(tmp_path, logPattern="%d{yyyy} %-5level [%thread] %logger{8} - %msg%n")
    request = {
        "text": "Grüße", "level": "WARN", "logger": "com.example.Orders", "thread": "t-1",
        "timestamp": "2026-03-04T05:06:07Z",
    }  # fmt: skip

    async with connected(config, allowed=allowed(tmp_path)) as guard:
        answer = await guard.use("send", request)

    today = datetime.now().strftime("%Y-%m-%d")
    assert answer.file == f"{tmp_path}/orders-pod-1-{today}.0.log"
    assert Path(answer.file).read_text() == "2026 WARN  [t-1] c.e.Orders - Grüße\n"
    assert answer.size == len(Path(answer.file).read_bytes())
    assert Path(answer.file).stat().st_mode & 0o777 == 0o640 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


async def test_an_empty_pod_name_becomes_the_host_name(tmp_path):
    """logPodName left empty is the worker's host name."""
    async with connected(body(tmp_path, logPodName=""), allowed=allowed(tmp_path)) as guard:
        answer = await guard.use("send", {"text": "x"})

    assert Path(answer.file).name.startswith(f"orders-{os.uname().nodename}-")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\0", "\x0b", "\x85", "\u2028", "\x1b[2J"])
async def test_a_message_is_one_line(tmp_path, end):
    """A line end or control character in a text does not begin another line, unless multiline says so."""
    async with connected(body(tmp_path), allowed=allowed(tmp_path)) as guard:
        answer = await guard.use("send", {"text": f"one{end}two"})
        await guard.use("send", {"text": "a\nb\x1bc", "multiline": True})

    lines = Path(answer.file).read_text().split("\n")
    assert len(lines) == 4 and end not in lines[0]
    assert lines[1:] == ["a", "b?c", ""]


async def test_32_senders_lose_and_tear_nothing_while_files_roll(tmp_path):
    """6,000 lines of 32 senders stand whole, once each and in order, in seven files that reached their size."""
    config = body(tmp_path, maxFileSize=1)
    async with connected(config, allowed=allowed(tmp_path)) as guard:

        async def sender(number: int) -> None:
            for count in range(188):
                await guard.use("send", {"text": f"{number} {count} {'x' * 1100}"})

        await asyncio.gather(*(sender(number) for number in range(32)))

    found: dict[int, list[int]] = {}
    ordered = sorted(names_in(tmp_path), key=lambda name: int(name.split(".")[1]))
    for line in (line for name in ordered for line in (tmp_path / name).read_text().splitlines()):
        number, count, rest = line.split(" ")
        assert rest == "x" * 1100
        found.setdefault(int(number), []).append(int(count))
    assert found == {number: list(range(188)) for number in range(32)}
    sizes = [(tmp_path / name).stat().st_size for name in ordered]
    assert len(sizes) == 7 and all(MEGABYTE <= size < MEGABYTE + 1200 for size in sizes[:-1])


async def test_1000_operations_leave_nothing_behind(tmp_path):
    """After use and close there is no thread, descriptor or task more than before."""
    before, descriptors, tasks = held(), len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())

    async with connected(body(tmp_path), allowed=allowed(tmp_path)) as guard:
        places = asyncio.Semaphore(32)

        async def one(number: int) -> None:
            async with places:
                await guard.use("send", {"text": str(number)})

        await asyncio.gather(*(one(number) for number in range(1000)))
        assert held()["threads"] == before["threads"] + 1

    await asyncio.to_thread(_until, lambda: held()["threads"] <= before["threads"])
    assert held() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert len(asyncio.all_tasks()) == tasks
    assert len(lines_in(tmp_path)) == 1000


def _until(enough: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not enough() and time.monotonic() < deadline:
        time.sleep(0.01)


async def test_nothing_in_flight_is_lost_on_close(tmp_path):
    """Lines that were handed over before the connection closed are in the file."""
    async with connected(body(tmp_path), allowed=allowed(tmp_path)) as guard:
        await guard.use("send", {"text": "first"})
        running = [asyncio.create_task(guard.use("send", {"text": str(number)})) for number in range(300)]
        await asyncio.sleep(0)

    await asyncio.gather(*running)

    assert lines_in(tmp_path) == ["first", *map(str, range(300))]


async def test_it_goes_on_in_the_same_file_after_stop(tmp_path):
    """A file that is not full is continued, by the same connector and by the next."""
    config = body(tmp_path)
    async with connected(config, allowed=allowed(tmp_path)) as guard:
        await guard.use("send", {"text": "one"})
        assert await guard.rest()
        await guard.use("send", {"text": "two"})
    async with connected(config, allowed=allowed(tmp_path)) as guard:
        await guard.use("send", {"text": "three"})

    assert len(names_in(tmp_path)) == 1
    assert lines_in(tmp_path) == ["one", "two", "three"]


async def test_an_unused_connector_holds_nothing(tmp_path):
    """Opened and not used, it has no thread and makes no file."""
    before = held()

    async with connected(body(tmp_path), allowed=allowed(tmp_path)):
        assert held() == before
    assert names_in(tmp_path) == []


async def test_a_file_that_was_taken_away_is_begun_anew(tmp_path):
    """When somebody removes the file, the next line makes it again."""
    async with connected(body(tmp_path), allowed=allowed(tmp_path)) as guard:
        Path((await guard.use("send", {"text": "one"})).file).unlink()
        await guard.use("send", {"text": "two"})

    assert lines_in(tmp_path) == ["two"]


# rolling


def test_a_new_period_begins_a_new_file(tmp_path):
    """When the date changes, so does the file; numbers begin at 0 again."""
    now = [datetime(2026, 3, 4, 23, 59, 59).timestamp()]
    file = files(tmp_path, max_bytes=10, clock=lambda: now[0])

    file.write([b"before midnight\n", b"still before\n"])
    now[0] += 1
    file.write([b"after\n"])
    file.close()

    assert names_in(tmp_path) == [
        "orders-pod-1-2026-03-04.0.log",
        "orders-pod-1-2026-03-04.1.log",
        "orders-pod-1-2026-03-05.0.log",
    ]


def test_the_highest_number_is_continued(tmp_path):
    """After a restart the newest file of the period is continued, and a full one is not."""
    now = datetime(2026, 3, 4, 12).timestamp()
    for index, size in ((0, 20), (1, 20), (10, 5)):
        (tmp_path / f"orders-pod-1-2026-03-04.{index}.log").write_bytes(b"x" * (size - 1) + b"\n")

    file = files(tmp_path, max_bytes=20, clock=lambda: now)
    written = file.write([b"a" * 19 + b"\n", b"b\n"])
    file.close()

    assert written == ["orders-pod-1-2026-03-04.10.log", "orders-pod-1-2026-03-04.11.log"]


def test_without_an_index_a_period_has_one_file(tmp_path):
    """A pattern without %i is rolled by date alone: nothing is overwritten, nothing is lost."""
    file = files(tmp_path, "%d{yyyy-MM-dd}.log", max_bytes=10)

    file.write([b"0123456789\n"] * 5)
    file.close()

    assert len(names_in(tmp_path)) == 1
    assert len(lines_in(tmp_path)) == 5


def test_without_a_date_files_are_numbered(tmp_path):
    """A pattern without %d is rolled by size alone."""
    file = files(tmp_path, "%i.log", max_bytes=10)

    file.write([b"0123456789\n"] * 3)
    file.close()

    assert names_in(tmp_path) == [f"orders-pod-1-{index}.log" for index in range(3)]


def test_total_size_cap_removes_the_oldest(tmp_path):
    """Of what maxHistory leaves, the oldest files go until the rest is below totalSizeCap; others' files stay."""
    now = datetime(2026, 3, 10, 12).timestamp()
    for day in range(1, 10):
        with (tmp_path / f"orders-pod-1-2026-03-{day:02d}.0.log").open("wb") as sparse:
            sparse.truncate(GIGABYTE // 2)
    for other in ("orders-pod-2-2026-03-01.0.log", "orders-pod-1-2026-03-01.0.log.bak", "notes.txt"):
        (tmp_path / other).write_text("x")

    file = files(tmp_path, cap_bytes=GIGABYTE + GIGABYTE // 2, clock=lambda: now)
    file.write([b"new\n"])
    file.close()

    assert names_in(tmp_path) == [
        "notes.txt",
        "orders-pod-1-2026-03-01.0.log.bak",
        "orders-pod-1-2026-03-07.0.log",
        "orders-pod-1-2026-03-08.0.log",
        "orders-pod-1-2026-03-09.0.log",
        "orders-pod-1-2026-03-10.0.log",
        "orders-pod-2-2026-03-01.0.log",
    ]


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [("%d{yyyy-MM}.%i.log", 5), ("%d{yyyy}.%i.log", 5), ("%d{yyyy-ww}.%i.log", 5), ("%d{MMMM d yyyy}.%i.log", 5)],
)
def test_max_history_counts_periods_of_every_sort(tmp_path, pattern, kept):
    """Months, years and weeks are counted too; where a name does not say when, the file's last change does."""
    now = datetime(2026, 7, 15, 12)
    names = FileNames("orders", "pod-1", pattern)
    step = {"month": 30.44, "year": 365.25, "week": 7.0, "day": 1.0}[names.unit or ""]
    for ago in range(12):
        moment = (now - timedelta(days=ago * step)).timestamp()
        path = tmp_path / names.name(moment, 0)
        path.write_text("x\n")
        os.utime(path, (moment, moment))

    file = files(tmp_path, pattern, max_history=4, clock=now.timestamp)
    file.write([b"new\n"])
    file.close()

    assert len(names_in(tmp_path)) == kept


# who may write where


async def test_nothing_is_written_where_nothing_is_allowed(tmp_path):
    """A worker without a root for log files writes none, and says who allows it."""
    error = await failure(body(tmp_path), None)

    assert isinstance(error, Misconfigured)
    assert "MOORING_LOGBACK_ROOT" in (error.hint or "")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("path", ["/etc/", "/", "{root}-beside/", "{root}/../"])
async def test_a_path_outside_the_root_is_refused(tmp_path, path):
    """Only what is below the operator's root is written to, however the path is spelled."""
    root = tmp_path / "root"
    root.mkdir()
    told = path.format(root=root)
    if ".." in told:
        with pytest.raises(Misconfigured):
            Folder(root, told)
        return

    error = await failure(body(told), root)

    assert isinstance(error, Misconfigured)
    assert names_in(tmp_path) == []


async def test_a_relative_path_begins_at_the_root(tmp_path):
    """Folders below the root are made when they are needed, also those in a file's name."""
    config = body("a/b", logFileName="c/orders", logFilenamePattern="%d{yyyy/MM}/x.%i.log")

    async with connected(config, allowed=allowed(tmp_path)) as guard:
        answer = await guard.use("send", {"text": "x"})

    assert Path(answer.file).is_relative_to(tmp_path / "a" / "b" / "c")


@pytest.mark.parametrize("linked", ["logs", "logs/deep", "logs/deep/orders-pod-1-0.log"])
async def test_no_link_leads_out_of_the_root(tmp_path, linked):
    """A symbolic link on the way, or in the place of the file, is not followed."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / linked).parent.mkdir(parents=True)
    outside.mkdir()
    target = outside / "victim" if linked.endswith(".log") else outside
    (root / linked).symlink_to(target)

    error = await failure(body("logs/deep", logFilenamePattern="%i.log"), root)

    assert isinstance(error, Misconfigured)
    assert "link" in error.message
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", ["pipe", "folder"])
async def test_what_is_no_file_is_not_written_to(tmp_path, kind):
    """A pipe or a folder in the place of the file is an error, and nobody waits."""
    place = tmp_path / "orders-pod-1-0.log"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()

    error = await failure(body(tmp_path, logFilenamePattern="%i.log"), tmp_path)

    assert isinstance(error, Misconfigured)


@pytest.mark.parametrize("name", ["a//b", "./a", "a/."])
async def test_a_name_that_is_no_path_is_refused(tmp_path, name):
    """The name must be a path below logPath."""
    error = await failure(body(tmp_path, logFileName=name if name != "a/." else "a/./b"), tmp_path)

    assert isinstance(error, Misconfigured)


@pytest.mark.parametrize("ending", [".gz", ".zip"])
async def test_a_name_that_promises_compression_is_refused(tmp_path, ending):
    """Files are not compressed, so none may be called as if they were."""
    error = await failure(body(tmp_path, logFilenamePattern=f"%d.%i.log{ending}"), tmp_path)

    assert isinstance(error, Misconfigured)
    assert "compressed" in error.message


async def test_a_zone_that_does_not_exist_is_refused(tmp_path):
    """A time zone that this machine does not know is told when the client is built."""
    error = await failure(body(tmp_path, logPattern="%d{HH:mm, Nowhere/Land} %m%n"), tmp_path)

    assert isinstance(error, Misconfigured)
    assert "Nowhere/Land" in error.message


async def test_two_connections_cannot_write_one_file(tmp_path, monkeypatch):
    """The second is refused, and works once the first has let go."""
    monkeypatch.setattr(rolling, "LOCK_S", 0.1)
    config = body(tmp_path)
    async with connected(config, allowed=allowed(tmp_path)) as second:
        async with connected(config, allowed=allowed(tmp_path)) as first:
            await first.use("send", {"text": "first"})
            with pytest.raises(Misconfigured) as caught:
                await second.use("send", {"text": "refused"})

        await second.use("send", {"text": "second"})

    assert "another connection" in caught.value.message
    assert lines_in(tmp_path) == ["first", "second"]


# a disk that misbehaves


@contextmanager
def _room_for(size: int) -> Iterator[None]:
    """Let the system refuse, in the middle of a write, what makes a file larger than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_line_that_does_not_fit_is_taken_back(tmp_path):
    """When the disk takes only a part, whole lines are left, and it is said which; afterwards it goes on."""
    file = files(tmp_path)

    with _room_for(25), pytest.raises(Partly) as caught:
        file.write([b"0123456789\n"] * 4)
    with _room_for(25), pytest.raises(OSError):
        file.write([b"0123456789\n"])
    assert lines_in(tmp_path) == ["0123456789"] * 2

    file.write([b"there is room again\n"])
    file.close()

    assert len(caught.value.names) == 2
    assert lines_in(tmp_path) == ["0123456789"] * 2 + ["there is room again"]


async def test_a_full_disk_is_told_and_recovered_from(tmp_path, monkeypatch):
    """Lines that were not written fail with the reason; the next one after there is room is written."""
    full = [True]
    write = os.write

    def writes(descriptor: int, data: Any) -> int:
        if full[0] and threading.current_thread().name.startswith("logback"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr(rolling.os, "write", writes)
    async with connected(body(tmp_path), allowed=allowed(tmp_path)) as guard:
        with pytest.raises(Unreachable) as caught:
            await guard.use("send", {"text": "lost"})
        report = await guard.probe()
        full[0] = False
        await guard.use("send", {"text": "kept"})

    assert "no room" in caught.value.message and "totalSizeCap" in (caught.value.hint or "")
    assert report.failure is not None and report.failure.name == "writable"
    assert lines_in(tmp_path) == ["kept"]


async def test_a_slow_disk_is_no_reason_for_endless_memory(tmp_path, monkeypatch):
    """No more lines wait than there may; the rest is told so, and the event loop goes on."""
    monkeypatch.setattr(connector, "MAX_WAITING", 10)
    gate = threading.Event()
    write = RollingFile.write

    def slowly(self: RollingFile, lines: Any) -> list[str]:
        gate.wait(10)
        return write(self, lines)

    monkeypatch.setattr(RollingFile, "write", slowly)
    async with connected(body(tmp_path), allowed=allowed(tmp_path)) as guard:
        first = asyncio.create_task(guard.use("send", {"text": "first"}))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(guard.use("send", {"text": str(number)})) for number in range(15)]
        await asyncio.sleep(0.05)
        gate.set()
        outcomes = await asyncio.gather(first, *waiting, return_exceptions=True)

    assert sum(isinstance(outcome, Busy) for outcome in outcomes) == 5
    assert len(lines_in(tmp_path)) == 11


# probes


async def test_a_probe_writes_and_leaves_nothing(tmp_path):
    """It makes the folder, tries to write, and takes that back."""
    async with connected(body("logs"), allowed=allowed(tmp_path)) as guard:
        report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps] == [("directory", "passed"), ("writable", "passed")]
    assert (tmp_path / "logs").is_dir() and names_in(tmp_path) == []


async def test_a_probe_stops_at_the_folder(tmp_path):
    """A folder that cannot be reached fails at that step, with what to do."""
    (tmp_path / "logs").write_text("a file")

    async with connected(body("logs"), allowed=allowed(tmp_path)) as guard:
        report = await guard.probe()

    assert report.failure is not None
    assert (report.failure.name, report.failure.code) == ("directory", "misconfigured")
    assert report.failure.remedy


async def test_a_root_that_is_not_mounted_is_told(tmp_path):
    """A root whose own folder is missing is not made up."""
    error = await failure(body("logs"), tmp_path / "missing" / "root")

    assert isinstance(error, Misconfigured)
    assert "MOORING_LOGBACK_ROOT" in (error.hint or "")


def test_new_folders_are_for_the_worker_and_its_group(tmp_path):
    """Folders that are made are closed to others."""
    with Folder(tmp_path, "a/b").opened():
        pass

    assert (tmp_path / "a" / "b").stat().st_mode & 0o007 == 0
