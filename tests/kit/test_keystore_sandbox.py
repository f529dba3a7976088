"""The child process that opens what strangers send: what it may take, what it gets, and how its end is told."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest

from mooring.errors import Unavailable
from mooring.kit.keystore import sandbox as module
from mooring.kit.keystore.opened import Unreadable
from mooring.kit.keystore.sandbox import Sandbox
from tests.support.keystores import PASSWORD, Tools, authority, issued

ME = issued(authority("Root"), "me.example.com")


async def opened_by(boot: str, monkeypatch: pytest.MonkeyPatch, **options: float) -> str:
    """What is said of a child that runs *boot* in place of opening anything."""
    monkeypatch.setattr(module, "_BOOT", boot)
    with pytest.raises(Unreadable) as caught:
        await Sandbox(**options).open("PEM", ME.pem())
    assert caught.value.field == "file"
    return caught.value.reason


LIMITED = "import sys; sys.path[:] = sys.argv[1:]; from mooring.kit.keystore.child import limit; limit(); "


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
async def test_java_s_keystores_open_within_the_limits(tools: Tools, kind: str) -> None:
    """Real files need none of what is forbidden."""
    opened = await Sandbox().open(kind, tools.converted(ME, kind), PASSWORD, None)

    assert opened.key is not None and opened.chain is not None


async def test_a_refusal_crosses_the_border(tools: Tools) -> None:
    """Field and reason are those of the child."""
    with pytest.raises(Unreadable) as caught:
        await Sandbox().open("JKS", tools.converted(ME, "JKS"), "wrong")

    assert caught.value.field == "password"


async def test_a_scrypt_key_opens_within_the_limits(tools: Tools) -> None:
    """scrypt takes memory, and there is enough for what OpenSSL asks for."""
    key = tools.write("key.pem", ME.key_pem())
    tools.openssl("pkcs8", "-topk8", "-scrypt", "-in", key, "-out", "scrypt.pem", "-passout", f"pass:{PASSWORD}")

    opened = await Sandbox().open("PEM", tools.read("scrypt.pem") + ME.chain_pem.encode(), PASSWORD)

    assert opened.key is not None


async def test_endless_work_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that uses up its processor time is told as one that takes too long."""
    boot = LIMITED + "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass"

    assert await opened_by(boot, monkeypatch) == "it takes too long to open"


async def test_a_child_that_waits_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting costs no processor time, so there is a deadline on the wall too."""
    assert await opened_by("import time; time.sleep(60)", monkeypatch, wall_s=0.5) == "it takes too long to open"


async def test_a_crash_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that breaks on a file takes only the child with it."""
    assert "breaks what opens it" in await opened_by("import os; os.abort()", monkeypatch)


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that wants much more ends."""
    assert "too much memory" in await opened_by(LIMITED + "bytearray(2**30)", monkeypatch)


async def test_the_child_can_neither_write_nor_start_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file grows, and no further process begins."""
    boot = LIMITED + (
        "import resource, sys\n"
        "none = [resource.getrlimit(what)[0] for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE)]\n"
        'sys.stdout.write(\'{"field": "file", "reason": "\' + str(none) + \'"}\')'
    )

    assert await opened_by(boot, monkeypatch) == "[0, 0, 0]"


async def test_the_child_inherits_no_settings_and_no_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the master key in the environment nor an open file of this process is there."""
    monkeypatch.setenv("MOORING_MASTER_KEY", "canary")
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    boot = (
        "import os, sys\n"
        "held = sorted(os.environ), sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1]\n"
        'sys.stdout.write(\'{"field": "file", "reason": "\' + str(held).replace(\'"\', \'\') + \'"}\')'
    )

    try:
        told = await opened_by(boot, monkeypatch)
    finally:
        os.close(reading)
        os.close(writing)

    names, descriptors = told.split("], [")
    assert "MOORING" not in names
    assert descriptors.strip("])") == "0, 1, 2"


async def test_the_event_loop_goes_on_meanwhile(tools: Tools) -> None:
    """Starting the child and waiting for it hold up nobody."""
    longest, running = 0.0, True

    async def watch() -> None:
        nonlocal longest
        while running:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)

    watching = asyncio.create_task(watch())
    sandbox = Sandbox()
    await asyncio.gather(*(sandbox.open("PEM", ME.pem()) for _ in range(4)))
    running = False
    await watching

    assert longest < 0.25  # a child takes that long to start alone; the rest is a machine that is busy


async def test_too_many_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd does not pile up."""
    monkeypatch.setattr(module, "WAITING", 2)
    sandbox = Sandbox()
    first = [asyncio.create_task(sandbox.open("PEM", ME.pem())) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await sandbox.open("PEM", ME.pem())

    assert all(opened.key for opened in await asyncio.gather(*first))


def test_the_child_loads_nothing_of_the_control_plane() -> None:
    """It starts quickly because it knows little: no store, no API, no driver."""
    code = "import mooring.kit.keystore.child, sys; print([n for n in sys.modules if n.startswith(('mooring.', 'pydantic'))])"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "pydantic" not in loaded and "mooring.store" not in loaded and "mooring.plugin" not in loaded
