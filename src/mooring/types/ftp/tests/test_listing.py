"""What servers say about files, read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mooring.types.ftp.listing import machine_line, people_line

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-rw-r--r--    1 1002     1002      3000001 Nov 24 10:11 a ç.bin", ("a ç.bin", "file", 3000001, "2026-11-24T10:11:00")),
        ("drwxr-xr-x   2 mooring  65534        4096 Nov 24 10:41 files", ("files", "directory", None, "2026-11-24T10:41:00")),
        ("-rw-r--r-- 1 a b 5 Dec 31 23:59 of last year", ("of last year", "file", 5, "2025-12-31T23:59:00")),
        ("-rw-r--r-- 1 a b 5 Feb 29  2024 leap", ("leap", "file", 5, "2024-02-29T00:00:00")),
        ("lrwxrwxrwx 1 a b 7 Jan 01 00:00 link -> /etc/passwd", ("link", "link", None, "2026-01-01T00:00:00")),
        ("-rw-r--r-- 1 a b 5 Feb 30 00:00 no such day", ("no such day", "file", 5, None)),
        ("11-24-26  03:25PM       <DIR>          inetpub", ("inetpub", "directory", None, "2026-11-24T15:25:00")),
        ("11-24-2026  12:05AM             1234 a b.txt", ("a b.txt", "file", 1234, "2026-11-24T00:05:00")),
        ("total 12", None),
        ("drwxr-xr-x 2 a b 4096 Nov 24 10:41 ..", None),
        ("\x00\xff garbage", None),
    ],
)  # fmt: skip
def test_lines_for_people(line, expected):
    """Lines as `ls -l` and `dir` write them are read; others are passed over."""
    entry = people_line(line, NOW)

    assert (entry and (entry.name, entry.type, entry.size, entry.modified)) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("modify=20261124161206;perm=adfrw;size=30;type=file;unique=1; a=b;c", ("a=b;c", "file", 30, "2026-11-24T16:12:06+00:00")),
        ("Type=dir;Modify=20261124161206.123; ışık", ("ışık", "directory", None, "2026-11-24T16:12:06+00:00")),
        ("type=OS.unix=slink:/etc; link", ("link", "link", None, None)),
        ("type=file;size=-4;modify=yesterday; odd", ("odd", "file", None, None)),
        ("type=cdir; .", None),
        ("type=pdir; /", None),
        ("garbage", None),
    ],
)  # fmt: skip
def test_lines_for_machines(line, expected):
    """Lines of MLSD are read, with times in UTC; the directory itself and its parent are passed over."""
    entry = machine_line(line)

    assert (entry and (entry.name, entry.type, entry.size, entry.modified)) == expected
