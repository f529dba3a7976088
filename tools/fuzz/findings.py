"""What was found, kept so that it can be asked again: `build/fuzz/`, one file for each sort of it."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.fuzz.door import Answered, Asked
from tools.fuzz.oracle import CANARY, SECRET

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"
_SHOWN = 5


def _around(text: str) -> str:
    """The beginning of *text*, and what stands around the first mark in it."""
    marks = [position for mark in (SECRET, CANARY) if (position := text.find(mark)) > 1_000]
    return text[:1_000] + "".join(f" ... {text[position - 500 : position + 200]}" for position in marks)


@dataclass
class Findings:
    """Counts what went wrong in one round; the first few of each sort are written down."""

    target: str
    seed: int
    folder: Path | None = FOLDER
    server_errors: int = 0
    other: int = 0
    sorts: dict[str, int] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)

    def add(self, what: str, details: dict[str, Any]) -> None:
        """Note one, told by *what*."""
        if what.startswith("5xx"):
            self.server_errors += 1
        else:
            self.other += 1
        count = self.sorts[what] = self.sorts.get(what, 0) + 1
        if self.folder is not None and count <= _SHOWN:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"[^A-Za-z0-9]+", "-", f"{self.target} {self.seed} {what}")[:120]
            (self.folder / f"{name}-{count}.json").write_text(json.dumps({"what": what, **details}, indent=1))

    def answered(self, what: str, asked: Asked, answered: Answered | None) -> None:
        """Note a request with its answer."""
        request = asdict(asked) | {
            "path": asked.path.decode("latin-1"), "query": asked.query.decode("latin-1"), "body": base64.b64encode(asked.body).decode(),
            "headers": [[key.decode("latin-1"), value.decode("latin-1")] for key, value in asked.headers if key != b"authorization"],
        }  # fmt: skip
        answer = {} if answered is None else {"status": answered.status, "text": _around(answered.text)}
        self.add(what, {"request": request, "answer": answer})
