"""What a Linux script config accepts, refuses, warns of, and keeps secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.linux_script import TYPE
from mooring.types.linux_script.model import LinuxScriptConfig

ROOM = Path(__file__).parents[1]
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text())
MINIMAL = {"hostName": "batch.example.com", "username": "orders", "password": "fake-password"}
FINGERPRINT = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON}


def config(**changes: Any) -> LinuxScriptConfig:
    return read_config(LinuxScriptConfig, {**MINIMAL, **changes})


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        config(**changes)
    return {problem.path: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize("body", BODIES["accepted"])
def test_documented_bodies_are_accepted(body: dict[str, Any]) -> None:
    """Every documented shape of a body is accepted."""
    assert body["type"] in (TYPE.name, *TYPE.aliases)
    read_config(LinuxScriptConfig, typed(body))


@pytest.mark.parametrize("case", BODIES["refused"])
def test_broken_bodies_are_refused_at_their_field(case: dict[str, Any]) -> None:
    """A broken body is refused, and the problem points at the field."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(LinuxScriptConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]


def test_the_port_defaults_to_22() -> None:
    """What is left out has its documented default."""
    assert config().wire() == {**MINIMAL, "sshPort": 22, "hostKeyFingerprint": None}


def test_everything_missing_is_named_at_once() -> None:
    """All three required fields are named together."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(LinuxScriptConfig, {})

    assert [problem.path for problem in caught.value.problems] == ["/hostName", "/username", "/password"]


def test_the_password_is_lifted_and_comes_back() -> None:
    """The password leaves the public half and returns to its place."""
    whole = config().wire()

    public, secrets = split(LinuxScriptConfig, whole)

    assert secrets == {"password": "fake-password"}
    assert "fake-password" not in json.dumps(public)
    assert join(LinuxScriptConfig, public, secrets) == (whole, {"password"})


def test_a_placeholder_without_stored_secret_is_refused() -> None:
    """A placeholder that nothing was stored for is no secret."""
    assert "/password" in refused(password="__secret__")


@pytest.mark.parametrize(
    "change", [{"hostName": "other"}, {"sshPort": 23}, {"username": "other"}, {"hostKeyFingerprint": FINGERPRINT}]
)
def test_what_decides_where_the_password_goes(change: dict[str, Any]) -> None:
    """Host, port, user and host key are the destination of the password."""
    assert config().destination() != config(**change).destination()


def test_an_unknown_host_key_is_warned_of() -> None:
    """Without a fingerprint the server's key is trusted at first use, and that is said."""
    assert [problem.code for problem in config().warnings()] == ["host_key_unknown"]
    assert list(config(hostKeyFingerprint=FINGERPRINT).warnings()) == []


@pytest.mark.parametrize("name", [info.alias for info in LinuxScriptConfig.model_fields.values()])
def test_a_variable_may_stand_in_every_field(name: str) -> None:
    """Every text and number may be a variable reference."""
    assert config(**{name: "${variable}"})


def test_errors_never_repeat_what_was_sent() -> None:
    """No problem contains a sent value."""
    problems = refused(
        hostName="fake secret", sshPort="fake-secret", hostKeyFingerprint="fake-secret", password=["fake-secret"]
    )

    assert len(problems) == 4
    assert "fake" not in str(problems)


def test_the_example_is_accepted_whole() -> None:
    """example.json is accepted without a warning."""
    example = json.loads((ROOM / "example.json").read_text())

    assert list(read_config(LinuxScriptConfig, typed(example)).warnings()) == []
