"""Where the master key comes from: a private file, or a setting."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.errors import KeyUnavailable
from mooring.kit.aead import new_key
from mooring.seal.keys import FileKey, GivenKey


def test_a_first_start_makes_a_key(tmp_path: Path) -> None:
    """32 random bytes in base64."""
    path = tmp_path / "master.key"

    made = FileKey(path).master_key(may_create=True)

    assert len(made) == 32 and base64.b64decode(path.read_text()) == made


def test_two_first_starts_make_two_keys(tmp_path: Path) -> None:
    """No default key anywhere."""
    keys = [FileKey(tmp_path / name).master_key(may_create=True) for name in ("a", "b")]

    assert keys[0] != keys[1]


def test_a_second_start_reads_it(tmp_path: Path) -> None:
    """The same key, whether it might be made or not."""
    provider = FileKey(tmp_path / "master.key")
    made = provider.master_key(may_create=True)

    assert provider.master_key(may_create=True) == provider.master_key(may_create=False) == made


def test_the_key_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    """Mode 0600, whatever the umask."""
    before = os.umask(0)
    try:
        FileKey(tmp_path / "master.key").master_key(may_create=True)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600


def test_a_leftover_does_not_lend_its_mode(tmp_path: Path) -> None:
    """A file that lies where the key is written first, open to all, does not make the key so."""
    left = tmp_path / "master.key.new"
    left.write_text("left behind")
    left.chmod(0o666)

    FileKey(tmp_path / "master.key").master_key(may_create=True)

    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600
    assert not left.exists()


def test_the_key_is_durable_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is flushed before it gets its name, and the folder after."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(
        os, "fsync", lambda fd: (done.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"), fsync(fd))[1]
    )
    monkeypatch.setattr(Path, "rename", lambda self, to: (done.append("rename"), rename(self, to))[1])

    FileKey(tmp_path / "master.key").master_key(may_create=True)

    assert done == ["file", "rename", "folder"]


def test_a_missing_file_with_sealed_data_is_never_made_anew(tmp_path: Path) -> None:
    """A new key would hide that the old one is lost."""
    with pytest.raises(KeyUnavailable, match="missing"):
        FileKey(tmp_path / "master.key").master_key(may_create=False)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"short", base64.b64encode(bytes(31)), b"\xff\xfe\x00binary", b"!" * 44])
def test_a_file_without_a_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    """Also on a first start: whatever stands there is not written over."""
    path = tmp_path / "master.key"
    path.write_bytes(content)

    with pytest.raises(KeyUnavailable) as raised:
        FileKey(path).master_key(may_create=True)

    assert path.read_bytes() == content and raised.value.hint


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A folder in its place, for one."""
    (tmp_path / "master.key").mkdir()

    with pytest.raises(KeyUnavailable, match="cannot be read"):
        FileKey(tmp_path / "master.key").master_key(may_create=True)


def test_a_given_key_is_taken() -> None:
    """32 bytes in base64."""
    key = new_key()

    assert GivenKey(base64.b64encode(key).decode()).master_key(may_create=False) == key


@given(st.text(min_size=6, max_size=60))
def test_a_wrong_given_key_is_not_repeated(text: str) -> None:
    """The error names the setting, and not what stood in it."""
    with pytest.raises(KeyUnavailable) as raised:
        GivenKey("\0" + text).master_key(may_create=True)

    said = f"{raised.value.message} {raised.value.hint}"
    assert "MOORING_MASTER_KEY" in said and "\0" not in said
