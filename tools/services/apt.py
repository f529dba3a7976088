"""Debian packages, installed without starting any of the daemons that they bring."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_POLICY = Path("/usr/sbin/policy-rc.d")


def install(missing: Mapping[str, Sequence[str]]) -> None:
    """
    Install the packages that each server misses, in one go where that works.

    When it does not, each server's are tried on their own, so that one whose
    packages cannot be had does not keep the others away. Raises nothing: who
    still misses a package finds out by looking.
    """
    packages = sorted({package for names in missing.values() for package in names})
    if not packages:
        return
    if os.geteuid() != 0:
        print(f"not root, so nothing was installed; missing: {' '.join(packages)}", flush=True)
        return
    print(f"installing {' '.join(packages)}", flush=True)
    with _no_daemon_starts():
        _apt_get("update")
        if _install(packages):
            return
        for names in filter(None, missing.values()):
            if not _install(names):
                _apt_get("update")
                _install(names)


def _install(packages: Sequence[str]) -> bool:
    # --no-remove: somebody's own mail server, say, is not ours to throw out.
    return _apt_get("install", "--yes", "--no-install-recommends", "--no-remove", *packages)


def _apt_get(*arguments: str) -> bool:
    done = subprocess.run(
        ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=180", "-o", "Acquire::Retries=2",
         "-o", "Dpkg::Use-Pty=0", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        print(f"apt-get {arguments[0]} failed:", *done.stdout.splitlines()[-15:], sep="\n  ")
    return done.returncode == 0


@contextlib.contextmanager
def _no_daemon_starts() -> Iterator[None]:
    """Keep packages from starting their daemons, unless the machine has a rule of its own."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
