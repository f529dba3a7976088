"""Forward migrations, one SQL file per step and database, applied in the order of their names."""

from __future__ import annotations

from importlib.resources import files


def migrations(database: str) -> list[tuple[int, str]]:
    """The steps for *database*: (number, SQL), in order. The number is what the file name begins with."""
    folder = files("mooring.store.migrations") / database
    steps = [
        (int(entry.name.split("_")[0]), entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    ]
    return sorted(steps)
