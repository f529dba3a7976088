"""Settings: the environment over the file over the default; wrong ones are named, their values are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mooring.errors import BadRequest
from mooring.kit.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine is seen, and the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MOORING_{name.upper()}", raising=False)
    monkeypatch.delenv("MOORING_CONFIG", raising=False)


def test_defaults_stand_alone() -> None:
    """Without a file and an environment."""
    found = Settings()

    assert (found.host, found.port, found.data_dir, found.token) == ("127.0.0.1", 8080, Path("mooring-data"), None)


def test_the_file_wins_over_the_default(tmp_path: Path) -> None:
    """`mooring.toml` in the working directory."""
    (tmp_path / "mooring.toml").write_text('port = 9000\nenvironment = "test"\n')

    found = Settings()

    assert (found.port, found.environment) == (9000, "test")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting by setting."""
    (tmp_path / "mooring.toml").write_text('port = 9000\nenvironment = "test"\n')
    monkeypatch.setenv("MOORING_PORT", "9001")

    found = Settings()

    assert (found.port, found.environment) == (9001, "test")


def test_what_is_given_wins_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option of the command line."""
    monkeypatch.setenv("MOORING_PORT", "9001")

    assert read_settings(port=9002).port == 9002


def test_the_file_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`MOORING_CONFIG` names it."""
    (tmp_path / "mooring.toml").write_text("port = 9000\n")
    (tmp_path / "other.toml").write_text("port = 9001\n")
    monkeypatch.setenv("MOORING_CONFIG", str(tmp_path / "other.toml"))

    assert Settings().port == 9001


def test_names_ignore_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment."""
    monkeypatch.setenv("mooring_port", "9001")

    assert Settings().port == 9001


WRONG = [
    ("PORT", "hunter2"), ("PORT", "70000"), ("PORT", "-1"), ("WAIT_SECONDS", "31"), ("WAIT_SECONDS", "hunter2"),
    ("MAX_BODY_BYTES", "17"), ("IDLE_SECONDS", "0.25"), ("LOG_LEVEL", "hunter2"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_named_and_not_shown(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which setting, and not what it held."""
    monkeypatch.setenv(f"MOORING_{name}", value)

    said = _refusal()

    assert name in said.upper() and value not in said


@pytest.mark.parametrize("line", ['port = "hunter2"', 'log_level = "hunter2"'])
def test_a_wrong_value_in_the_file_is_named_and_not_shown(line: str, tmp_path: Path) -> None:
    """The file is no exception."""
    (tmp_path / "mooring.toml").write_text(line + "\n")

    said = _refusal()

    assert line.split(maxsplit=1)[0].upper() in said.upper() and "hunter2" not in said


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    """Saying which file, and nothing that stands in it."""
    (tmp_path / "mooring.toml").write_text('admin_token = "hunter2\n')

    said = _refusal()

    assert "mooring.toml" in said and "hunter2" not in said


def test_a_named_file_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path in MOORING_CONFIG would otherwise mean other settings than those that were meant."""
    monkeypatch.setenv("MOORING_CONFIG", str(tmp_path / "none.toml"))

    assert "MOORING_CONFIG" in _refusal()


@pytest.mark.parametrize("name", ["token", "admin_token", "master_key", "enrol_token"])
def test_secret_settings_do_not_show_themselves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a repr nor in JSON."""
    monkeypatch.setenv(f"MOORING_{name.upper()}", "hunter2")

    found = Settings()

    assert "hunter2" not in f"{found!r} {found} {found.model_dump_json()}"


def test_every_setting_has_a_sentence() -> None:
    """`mooring settings` shows it."""
    assert [name for name, info in Settings.model_fields.items() if not (info.description or "").endswith(".")] == []


def _refusal() -> str:
    """What a start says that is refused because of its settings."""
    with pytest.raises(BadRequest) as raised:
        read_settings()
    return f"{raised.value.message} {raised.value.hint}"
