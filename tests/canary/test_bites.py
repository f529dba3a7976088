"""The negative control: a leak in each sink and in each spelling is found."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import apsw
import pytest

from tests.canary.sinks import in_folder, in_processes
from tests.canary.words import Search, canary

pytest_plugins = ["pytester"]
SEARCH = Search()
SPELT = {
    "raw": lambda word: word.encode(),
    "hex": lambda word: word.encode().hex().encode(),
    "upper-case hex": lambda word: word.encode().hex().upper().encode(),
    "base64": lambda word: base64.b64encode(word.encode()),
    "base64 after one byte": lambda word: base64.b64encode(b"x" + word.encode()),
    "base64 after two bytes": lambda word: base64.b64encode(b"\xff\xfe" + word.encode()),
    "base64url": lambda word: base64.urlsafe_b64encode(b"\xff\xff" + word.encode() + b"\xff"),
    "base64 of user and password": lambda word: base64.b64encode(f"user:{word}".encode()),
    "URL": lambda word: quote(word).encode(),
    "URL, every letter": lambda word: "".join(f"%{byte:02X}" for byte in word.encode()).encode(),
    "JSON": lambda word: json.dumps({"password": word}).encode(),
    "JSON, every letter": lambda word: "".join(f"\\u{ord(each):04x}" for each in word).encode(),
    "UTF-16": lambda word: word.encode("utf-16"),
}


@pytest.mark.parametrize("spelling", SPELT)
def test_every_spelling_is_found(spelling: str) -> None:
    """Amid other bytes, wherever it stands."""
    leak = SPELT[spelling](canary("control"))

    assert all(SEARCH.found_in(b"\x00" * before + leak + b"\xffother") for before in range(4))


def test_ordinary_bytes_are_no_finding() -> None:
    """What holds no canary is not called one."""
    assert SEARCH.found_in(os.urandom(1_000_000)) is None and SEARCH.found_in(b"Canary mrg bird") is None


@pytest.mark.plants
@pytest.mark.parametrize("spelling", SPELT)
def test_a_leak_in_a_file_is_found(tmp_path: Path, spelling: str) -> None:
    """Logs, caches, identities and exports are files."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "log").write_bytes(b"before " + SPELT[spelling](canary("file")) + b" after")

    (found,) = in_folder(SEARCH, tmp_path)

    assert found.startswith("deep/log")


@pytest.mark.plants
def test_a_leak_in_a_database_and_in_its_log_is_found(tmp_path: Path) -> None:
    """The write-ahead log too, before anything is copied back."""
    db = apsw.Connection(str(tmp_path / "a.db"))
    db.execute("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t (x)").fetchall()
    db.execute("INSERT INTO t VALUES (?)", (canary("row"),))

    in_log = in_folder(SEARCH, tmp_path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    in_database = in_folder(SEARCH, tmp_path)
    db.close()

    assert [each.split(":")[0] for each in in_log] == ["a.db-wal"]
    assert [each.split(":")[0] for each in in_database] == ["a.db"]


@pytest.mark.plants
def test_a_leak_across_two_pieces_of_a_large_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in pieces, and pieces overlap."""
    monkeypatch.setattr("tests.canary.sinks.PIECE", 1000)
    (tmp_path / "large").write_bytes(b"x" * 995 + canary("cut").encode() + b"x" * 995)

    assert in_folder(SEARCH, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "environment"), [([canary("argument")], {}), ([], {"LEAK": canary("environment")})]
)
def test_a_leak_to_a_process_is_found(arguments: list[str], environment: dict[str, str]) -> None:
    """In its arguments, which everybody on the machine can read, and in its environment."""
    with subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); input()", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, **environment}, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        found = in_processes(SEARCH, process.pid)
        process.kill()

    assert len(found) == 1


LEAKS = {
    "print(canary())": "stdout",
    "sys.stderr.write(canary())": "stderr",
    "logging.getLogger().warning(canary())": "log",
    "(tmp_path / 'left').write_text(canary())": "left",
    "answer(canary())": "answer 200 to GET /apiops/x",
    "answer(base64.b64encode(canary().encode()).decode())": "answer 200 to GET /apiops/x",
}


@pytest.mark.plants
def test_a_test_that_leaks_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness itself, in a suite of tests of which each leaks otherwise: each fails, and says where."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    tests = "".join(f"def test_{number}(tmp_path):\n    {leak}\n\n" for number, leak in enumerate(LEAKS))
    pytester.makepyfile(
        f"""
import base64, logging, sys
import httpx2
from tests.canary.words import canary

def answer(text):
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, text=text))
    httpx2.Client(transport=transport).get("http://mooring.test/apiops/x")

{tests}
def test_clean(tmp_path):
    (tmp_path / "left").write_text("nothing")
"""
    )

    result = pytester.runpytest_subprocess("-p", "tests.canary.plugin", "-p", "no:cacheprovider", "-p", "no:xdist")

    result.assert_outcomes(passed=len(LEAKS) + 1, errors=len(LEAKS))
    said = result.stdout.str()
    assert all(where in said for where in LEAKS.values()) and "a canary came to light" in said
