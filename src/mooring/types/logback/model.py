"""What a Logback connection is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import NO_CONTROL, Count, OrReference, Positive, field, has_reference
from mooring.plugin.problems import invalid, required
from mooring.types.logback.pattern import FILE_WORDS, LINE_WORDS, PatternError, fixed_text, parse

_SEPARATOR = re.compile(r"[/\\]")


def _closed(path: str) -> str:
    return path if path.endswith("/") else path + "/"


def _relative(name: str) -> str:
    return name.lstrip("/")


Directory = Annotated[
    str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=1024), AfterValidator(_closed), OrReference
]
FileName = Annotated[
    str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=200), AfterValidator(_relative), OrReference
]
PodName = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=255), OrReference]
FilePattern = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=200), OrReference]
LinePattern = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=1024), OrReference]


class LogbackConfig(ConnectionConfig):
    """Writes log lines into rolling files on the worker."""

    log_path: Directory = field(
        "/path/to/logs/",
        description="Directory on the worker, below the root that its operator allows.",
        example="/var/log/orders/",
        group="File",
    )
    log_file_name: FileName = field(
        "ApinizerApiProxyTraffic", description="Base name of the files.", example="orders", group="File"
    )
    log_pod_name: PodName = field(
        "",
        description="Label inside the file name; empty becomes the worker's host name.",
        example="pod-1",
        group="File",
    )
    log_filename_pattern: FilePattern = field(
        "%d{yyyy-MM-dd}.%i.log",
        description="Tail of a rolled file's name: %d is the period, %i counts files within it.",
        example="%d{yyyy-MM-dd}.%i.log",
        group="File",
    )
    log_pattern: LinePattern = field(
        "%d{yyyy-MM-dd HH:mm:ss.SSS}[%m]%n",
        description="Layout of a line: %d, %m or %msg, %n, %thread, %level, %logger.",
        example="%d{HH:mm:ss.SSS} %-5level %logger{36} - %msg%n",
        group="Line",
    )
    max_file_size: Positive = field(25, description="Size at which a file is rolled.", group="Rolling", unit="MB")
    max_history: Count = field(
        0,
        description="Periods of the date pattern (days, hours, ...) that files are kept for; 0 keeps all.",
        group="Rolling",
        unit="periods",
    )
    total_size_cap: Count = field(
        0,
        description="Size of all files together above which the oldest are removed; 0 sets no limit.",
        group="Rolling",
        unit="GB",
    )

    def rules(self) -> Iterator[Problem]:
        yield from _inside("logPath", self.log_path)
        if not self.log_file_name:
            yield required("logFileName")
        yield from _inside("logFileName", self.log_file_name)
        yield from _inside("logPodName", self.log_pod_name)
        yield from self._file_pattern_rules()
        if not has_reference(self.log_pattern):
            try:
                parse(self.log_pattern, LINE_WORDS)
            except PatternError as exc:
                yield invalid("logPattern", str(exc), "pattern")

    def _file_pattern_rules(self) -> Iterator[Problem]:
        if has_reference(self.log_filename_pattern):
            return
        try:
            text = fixed_text(self.log_filename_pattern)
        except PatternError as exc:
            yield invalid("logFilenamePattern", str(exc), "pattern")
        else:
            yield from _inside("logFilenamePattern", text)

    def warnings(self) -> Iterator[Problem]:
        if has_reference(self.log_filename_pattern):
            return
        words = {getattr(piece, "word", None) for piece in parse(self.log_filename_pattern, FILE_WORDS)}
        if "d" not in words:
            yield invalid("logFilenamePattern", "it has no %d, so files are not rolled by date", "pattern_has_date")
        if "i" not in words:
            yield invalid(
                "logFilenamePattern",
                "it has no %i, so a period has one file, and maxFileSize has no effect",
                "size_needs_index",
            )


def _inside(name: str, path: str) -> Iterator[Problem]:
    if ".." in _SEPARATOR.split(path):
        yield invalid(name, "it must not contain '..' as a part of the path", "parent_walk")
