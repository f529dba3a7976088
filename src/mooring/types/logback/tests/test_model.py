"""What a Logback config accepts, changes, refuses and warns of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.logback import TYPE
from mooring.types.logback.model import LogbackConfig

ROOM = Path(__file__).parents[1]
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text())


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON}


def config(**changes: Any) -> LogbackConfig:
    return read_config(LogbackConfig, changes)


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        config(**changes)
    return {problem.path: problem.message for problem in caught.value.problems}


def warned(**changes: Any) -> set[str]:
    return {problem.code for problem in config(**changes).warnings()}


@pytest.mark.parametrize("body", BODIES["accepted"])
def test_documented_bodies_are_accepted(body: dict[str, Any]) -> None:
    """Every documented shape of a body is accepted."""
    assert body["type"] == TYPE.name
    read_config(LogbackConfig, typed(body))


@pytest.mark.parametrize("case", BODIES["refused"])
def test_broken_bodies_are_refused_at_their_field(case: dict[str, Any]) -> None:
    """A broken body is refused, and the problem points at the field."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(LogbackConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]


def test_defaults() -> None:
    """An empty body has every documented default."""
    assert config().wire() == {
        "logPath": "/path/to/logs/",
        "logFileName": "ApinizerApiProxyTraffic",
        "logPodName": "",
        "logFilenamePattern": "%d{yyyy-MM-dd}.%i.log",
        "logPattern": "%d{yyyy-MM-dd HH:mm:ss.SSS}[%m]%n",
        "maxFileSize": 25,
        "maxHistory": 0,
        "totalSizeCap": 0,
    }


def test_paths_are_normalised() -> None:
    """A directory ends with a slash and a file name does not begin with one, however they are sent."""
    wire = config(logPath="/var/log", logFileName="//orders").wire()

    assert (wire["logPath"], wire["logFileName"]) == ("/var/log/", "orders")


def test_normalising_twice_changes_nothing() -> None:
    """What was stored reads back as itself."""
    once = config(logPath="/var/log", logFileName="/orders")

    assert LogbackConfig.from_wire(once.wire()) == once


def test_a_variable_is_not_normalised() -> None:
    """A text with a variable is kept until it is resolved."""
    assert config(logPath="${dir}").log_path == "${dir}"


def test_a_walk_behind_a_variable_is_refused() -> None:
    """A variable in a path does not hide a walk to the parent directory."""
    assert "/logPath" in refused(logPath="${dir}/../etc")


def test_unknown_words_are_named() -> None:
    """The refused conversion word stands in the sentence, with those that are supported."""
    message = refused(logPattern="%caller{1} %m%n")["/logPattern"]

    assert "%caller" in message and "%logger" in message


def test_patterns_without_date_or_index_are_warned_of() -> None:
    """A file pattern should have both %d and %i."""
    assert warned() == set()
    assert warned(logFilenamePattern="%i.log") == {"pattern_has_date"}
    assert warned(logFilenamePattern="%d.log") == {"size_needs_index"}
    assert warned(logFilenamePattern="plain.log") == {"pattern_has_date", "size_needs_index"}
    assert warned(logFilenamePattern="${tail}") == set()


def test_there_is_nothing_to_lift() -> None:
    """No field is a secret: all of the config is its public half."""
    whole = config().wire()

    assert split(LogbackConfig, whole) == (whole, {})
    assert join(LogbackConfig, whole, {}) == (whole, set())


@pytest.mark.parametrize("name", [info.alias for info in LogbackConfig.model_fields.values()])
def test_a_variable_may_stand_in_every_field(name: str) -> None:
    """Every text and number may be a variable reference."""
    assert config(**{name: "${variable}"})


def test_errors_never_repeat_what_was_sent() -> None:
    """No problem contains a sent value."""
    problems = refused(logPath="/fake-path/../x", maxFileSize="fake-size", logFilenamePattern="fake-tail%q")

    assert len(problems) == 3
    assert "fake-" not in str(problems)


def test_the_example_is_accepted_whole() -> None:
    """example.json is accepted without a warning."""
    example = json.loads((ROOM / "example.json").read_text())

    assert list(read_config(LogbackConfig, typed(example)).warnings()) == []
