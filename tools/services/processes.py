"""Processes that outlive the program that started them, and are found again by their pid file."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

# Of those that this very process started: they must be waited for, or they stay as zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


def remember(process: subprocess.Popen[bytes], pid_file: Path) -> None:
    """Note *process* and the moment it began, since a pid alone is given out again."""
    _children[process.pid] = process
    pid_file.write_text(f"{process.pid} {_began(process.pid)}\n")


def is_alive(pid_file: Path) -> bool:
    """Whether the very process that the file names is still running."""
    pid, began = _read(pid_file)
    _reap(pid)
    return began is not None and _began(pid) == began


def stop(pid_file: Path, by: signal.Signals, patience_s: float) -> None:
    """
    End the process that the file names and its whole group, and remove the file.

    The leader is asked with *by* and has *patience_s* to end in order; what is
    left of the group then is killed. Another process that was given the same
    pid meanwhile is left alone.
    """
    pid, began = _read(pid_file)
    if is_alive(pid_file):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, by)
        _wait(lambda: is_alive(pid_file), patience_s)
    # A pid is not given out again while it still names a group, so a group
    # whose leader is gone, or is the leader that we know, is ours.
    if began is not None and _began(pid) in (began, None):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        _wait(lambda: _group_exists(pid), 5)
    pid_file.unlink(missing_ok=True)


def _wait(while_true: Callable[[], bool], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while while_true() and time.monotonic() < deadline:
        time.sleep(0.02)


def _read(pid_file: Path) -> tuple[int, str | None]:
    try:
        pid, began = pid_file.read_text().split()
    except (OSError, ValueError):
        return 0, None
    return int(pid), began


def _began(pid: int) -> str | None:
    """When the process began, in ticks since boot; None when it has ended."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else fields[19]


def _group_exists(group: int) -> bool:
    """Whether a live process, not just a zombie, is left in the group."""
    _reap(group)
    stats = (_stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return any(fields and fields[0] != "Z" and fields[2] == str(group) for fields in stats)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on, past the name that may hold blanks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _reap(pid: int) -> None:
    if pid in _children:
        _children[pid].poll()
