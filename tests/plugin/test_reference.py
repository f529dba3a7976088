"""The field tables in the rooms' READMEs say what the models say."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from mooring.plugin import reference
from mooring.plugin.card import ConnectionType
from mooring.plugin.config import ConnectionConfig, Part
from mooring.plugin.fields import Flag, LongCount, OrReference, Port, Secret, Text, field
from mooring.plugin.reference import ReadmeBroken, field_table, fill_readme, is_current, main

ROOM = """
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import Text, field


class RoomConfig(ConnectionConfig):
    host: Text = field(description="Where it is.")
"""


class Door(Part):
    """A door of the house."""

    name: Text = field(description="Its name.")


class HouseConfig(ConnectionConfig):
    """A type with a field of every sort."""

    host: Text = field(description="Where | it is.", destination=True, also=("hostname",))
    port: Port = field(21, description="Port.")
    password: Secret | None = field(None, description="Password.")
    mode: Annotated[Literal["A", "B"], OrReference] = field("A", description="Mode.")
    open: Flag = field(False, description="Open.")
    size: LongCount | None = field(None, description="Size.", unit="bytes")
    threads: Port | None = field(None, description="Threads.", no_effect="there is one.")
    trust_store_name: Text | None = field(None, description="Trust.", reference="truststore")
    doors: list[Door] = field([], description="Doors.")
    main_door: Door | None = field(None, description="The first one.")
    labels: dict[str, str] = field({}, description="Labels.")


def card(config: type[ConnectionConfig] = HouseConfig) -> ConnectionType:
    return ConnectionType(name="house", title="House", group="Houses", config=config)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A type whose folder is a temporary one."""
    (tmp_path / "reference_room.py").write_text(ROOM)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield card(importlib.import_module("reference_room").RoomConfig)
    del sys.modules["reference_room"]


def test_every_sort_of_field_is_told_in_words() -> None:
    """Types, defaults, units, marks and fields of inner objects stand in the table, and a bar is escaped."""
    assert field_table(card()).splitlines()[2:] == [
        r"| `host` | text | yes |  | Where \| it is. Also written `hostname`. | destination |",
        "| `port` | whole number, 1 to 65535 | no | `21` | Port. |  |",
        "| `password` | secret text | no |  | Password. | secret |",
        '| `mode` | one of `A`, `B` | no | `"A"` | Mode. |  |',
        "| `open` | true or false | no | `false` | Open. |  |",
        "| `size` | whole number, at least 0, in bytes | no |  | Size. |  |",
        "| `threads` | whole number, 1 to 65535 | no |  | Threads. Accepted and without effect: there is one. | no effect |",
        "| `trustStoreName` | text | no |  | Trust. | names a truststore |",
        "| `doors` | list of objects | no | `[]` | Doors. |  |",
        "| `doors[].name` | text | yes |  | Its name. |  |",
        "| `mainDoor` | object | no |  | The first one. |  |",
        "| `mainDoor.name` | text | yes |  | Its name. |  |",
        "| `labels` | map of names to text | no | `{}` | Labels. |  |",
    ]


def test_only_what_stands_between_the_markers_is_replaced(room: ConnectionType) -> None:
    """The table takes the place between the markers; a second time nothing changes."""
    readme = room.folder / "README.md"
    readme.write_text("# Room\n<!-- fields -->\nold\n<!-- /fields -->\nafter\n")

    assert not is_current(room)
    assert fill_readme(room)
    assert not fill_readme(room)
    assert is_current(room)
    assert readme.read_text() == f"# Room\n<!-- fields -->\n{field_table(room)}\n<!-- /fields -->\nafter\n"


def test_a_readme_without_a_place_is_refused(room: ConnectionType) -> None:
    """A missing README, or one without both markers, is said and left alone."""
    with pytest.raises(ReadmeBroken, match=r"no README\.md"):
        fill_readme(room)

    readme = room.folder / "README.md"
    readme.write_text("<!-- fields -->")
    with pytest.raises(ReadmeBroken, match="<!-- /fields -->"):
        fill_readme(room)
    assert readme.read_text() == "<!-- fields -->"


def test_check_fails_until_the_table_is_written(
    room: ConnectionType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --check nothing is changed and the exit code tells; without it the table is written."""
    monkeypatch.setattr(reference, "Registry", lambda: [room])
    readme = room.folder / "README.md"
    readme.write_text("<!-- fields --><!-- /fields -->")

    assert main(["--check"]) == 1
    assert readme.read_text() == "<!-- fields --><!-- /fields -->"
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "house: the field table in its README is out of date",
        "house: the field table in its README was rewritten",
    ]
