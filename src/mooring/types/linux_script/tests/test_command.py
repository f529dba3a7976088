"""What is sent for the other side's shell."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mooring.types.linux_script.command import LONGEST_LINE, RunRequest, line_of

SHELLS = [name for name in ("sh", "bash", "zsh", "fish", "tcsh", "dash") if shutil.which(name)]

words = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), max_size=5)


@settings(max_examples=60, deadline=None)
@given(words)
@example(
    [
        "'; touch /tmp/no; '",
        "\\",
        "\\'",
        "$(id)",
        "`id`",
        "",
        "a\nb",
        "-n",
        "*",
        "~",
        "!",
        "!!\n!x",
        "=ls",
        "#",
        "\\\\'",
    ]
)
def test_any_shell_gives_every_word_on_as_it_is(arguments):
    """Whatever is in a word, each shell of this machine hands it on as one, unchanged."""
    line = line_of(["printf", "%s\\0", *arguments, "end"])

    for shell in SHELLS:
        said = subprocess.run([shell, "-c", line], capture_output=True, check=True).stdout
        assert said == b"".join(word.encode() + b"\0" for word in [*arguments, "end"])


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"command": "a", "script": "b"},
        {"command": ""},
        {"command": "a\0b"},
        {"command": "a", "arguments": ["\0"]},
        {"script": "x" * LONGEST_LINE},
        {"command": "a", "timeoutSeconds": 0},
        {"command": "a", "timeoutSeconds": 1000},
        {"command": "a", "shell": "/bin/evil"},
    ],
)
def test_what_cannot_be_run_is_refused(request_):
    """Neither nothing nor two things, nothing with a NUL, nothing longer than Linux takes."""
    with pytest.raises(ValidationError):
        RunRequest.model_validate(request_)
