"""What to run, as the one line of text that SSH carries to the other side's shell, where nothing in it is code of ours."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from mooring.plugin.connector import Answer, Request

# Linux takes no longer argument, and the line is the argument of a shell.
LONGEST_LINE = 128 * 1024 - 1
LONGEST_INPUT = 8 * 1024 * 1024
OUTPUT_BYTES = 1024 * 1024
RUN_S = 25.0
LONGEST_RUN_S = 290.0

_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
_SPECIAL = {"'": r"\'", "\\": r"\\"}

# csh and its kin end a quotation at a line break, and look for `!` inside it: such a line is carried in octal.
_HIDDEN = {"\n": r"\0012", "!": r"\0041", "\\": r"\0134"}
_UNWRAP = 'eval "exec $(printf %b "$0")"'


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("control", "must not contain the NUL character")
    return value


Argument = Annotated[str, AfterValidator(_no_nul)]


class RunRequest(Request):
    """What to run: a command with its arguments, or a script."""

    command: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_no_nul)] | None = Field(
        None, description="A program over there: its name or path, and nothing else.", examples=["/opt/jobs/nightly.sh"]
    )
    arguments: list[Argument] = Field(
        [], max_length=1000, description="What it is given, each as it stands: nothing in it is interpreted."
    )
    script: Annotated[str, Field(max_length=LONGEST_LINE), AfterValidator(_no_nul)] | None = Field(
        None, description="In place of a command: the text of a script, which finds the arguments as $1, $2, ..."
    )
    shell: Literal["sh", "bash"] = Field("sh", description="What interprets the script.")
    input: str = Field("", max_length=LONGEST_INPUT, description="What it reads from its standard input.")
    timeout_seconds: float = Field(
        RUN_S, gt=0, le=LONGEST_RUN_S, description="How long it may take; then it is killed."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> RunRequest:
        if (self.command is None) == (self.script is None):
            raise PydanticCustomError("one_of", "either command or script must be given")
        if len(self.line.encode()) > LONGEST_LINE:
            raise PydanticCustomError(
                "too_long", "script and arguments are too long together: put a file there, or use the input"
            )
        return self

    @property
    def line(self) -> str:
        """The line for the other side's shell."""
        if self.command is not None:
            words = [self.command, *self.arguments]
        else:
            words = [self.shell, "-c", self.script or "", self.shell, *self.arguments]
        return line_of(words)


class Ran(Answer):
    """How it ended, and what it said."""

    exit_status: int | None = Field(None, description="Its exit status; none where a signal ended it.")
    stdout: str = Field("", description=f"What it wrote to its standard output: the first {OUTPUT_BYTES} bytes.")
    stderr: str = Field("", description=f"What it wrote to its standard error: the first {OUTPUT_BYTES} bytes.")
    truncated: bool = Field(False, description="Whether it wrote more than that to one of them.")
    timed_out: bool = Field(False, description="Whether it was killed because its time was over.")
    signal: str | None = Field(None, description="The signal that ended it, such as `KILL`.")
    host_key: str = Field("", description="Fingerprint of the server's host key.")


def line_of(words: list[str]) -> str:
    """*words* for any shell: each is one word over there, and nothing in it means anything."""
    line = " ".join(quoted(word) for word in words)
    if "\n" in line or "!" in line:
        hidden = "".join(_HIDDEN.get(character, character) for character in line)
        line = f"sh -c {quoted(_UNWRAP)} {quoted(hidden)}"
    return line


def quoted(word: str) -> str:
    """
    *word* as one word of a shell, whatever it holds.

    Quotes and backslashes stand outside of the quotation, so that it means the same to sh, zsh and fish.
    """
    if _PLAIN.fullmatch(word):
        return word
    if not word:
        return "''"
    parts = re.findall(r"['\\]|[^'\\]+", word)
    return "".join(_SPECIAL.get(part) or f"'{part}'" for part in parts)
