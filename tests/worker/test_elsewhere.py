"""Secrets that live elsewhere: what a worker gives out, what it does not, and Vault (a `FakeVault`)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mooring.worker import vault as vault_module
from mooring.worker.elsewhere import MAX_FILE, Elsewhere, NotRead
from mooring.worker.vault import Vault, VaultSettings
from tests.support.fake_vault import FakeVault, fake_vault


async def one(elsewhere: Elsewhere, reference: str, **more: Any) -> str:
    (value,) = (await elsewhere.read("shop", [reference], **more)).values()
    return value


async def why_not(elsewhere: Elsewhere, reference: str) -> str:
    with pytest.raises(NotRead) as caught:
        await one(elsewhere, reference)
    assert caught.value.reference == reference
    return caught.value.message


# the environment


async def test_an_environment_variable_with_the_prefix() -> None:
    """Is read as it is."""
    assert await one(Elsewhere("APP_", environ={"APP_PW": "hush"}), "env:APP_PW") == "hush"


@pytest.mark.parametrize(
    ("prefix", "name"),
    [("", "APP_PW"), ("APP_", "HOME"), ("APP_", "app_PW"), ("MOORING_", "MOORING_MASTER_KEY"), ("M", "MOORING_TOKEN"), ("APP_", "APP_=x")],
)  # fmt: skip
async def test_other_variables_are_not_given_out(prefix: str, name: str) -> None:
    """None by default, and Mooring's own never."""
    environ = {"APP_PW": "hush", "HOME": "/root", "MOORING_MASTER_KEY": "k", "MOORING_TOKEN": "t"}

    assert "MOORING_SECRET_ENV_PREFIX" in await why_not(Elsewhere(prefix, environ=environ), f"env:{name}")


# files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "secrets"
    (root / "..data").mkdir(parents=True)
    (root / "..data" / "pw").write_text("hush\n")
    (root / "pw").symlink_to("..data/pw")
    (tmp_path / "outside").write_text("not yours")
    return root


async def test_a_file_below_the_folder(folder: Path) -> None:
    """Without its last line end; a link inside of the folder is followed, as Kubernetes mounts secrets."""
    assert await one(Elsewhere(folder=folder), "file:pw") == "hush"


@pytest.mark.parametrize(
    "place", ["../outside", "/etc/passwd", "link", "dir/link", "", ".", "a/../../outside", "..\\outside", "pipe"]
)
async def test_nothing_outside_is_read(folder: Path, place: str) -> None:
    """No path, no link and no pipe leads out of it."""
    (folder / "link").symlink_to(folder.parent / "outside")
    (folder / "dir").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe")

    said = await why_not(Elsewhere(folder=folder), f"file:{place}")

    assert "not below the folder" in said or "cannot be read" in said


async def test_files_have_a_bound(folder: Path) -> None:
    """And must be text."""
    (folder / "large").write_bytes(b"x" * (MAX_FILE + 1))
    (folder / "binary").write_bytes(b"\xff\xfe")
    elsewhere = Elsewhere(folder=folder)

    assert "larger" in await why_not(elsewhere, "file:large")
    assert "UTF-8" in await why_not(elsewhere, "file:binary")
    assert "cannot be read" in await why_not(elsewhere, "file:missing")


async def test_without_settings_nothing_is_read() -> None:
    """Each refusal names the setting."""
    assert "MOORING_SECRET_FILES" in await why_not(Elsewhere(), "file:pw")
    assert "MOORING_VAULT_URL" in await why_not(Elsewhere(), "vault:db#pw")


# Vault


@pytest.fixture
def served() -> Iterator[FakeVault]:
    with fake_vault() as vault:
        vault.secrets["shop/db"] = {"pw": "hush", "port": 5432}
        vault.secrets["other/db"] = {"pw": "not yours"}
        yield vault


@pytest.fixture
async def make(served: FakeVault) -> AsyncIterator[Any]:
    made: list[Elsewhere] = []

    def elsewhere(**more: Any) -> Elsewhere:
        settings = VaultSettings(served.url, **{"token": "root-token", **more})
        made.append(Elsewhere(vault=Vault(settings)))
        return made[-1]

    yield elsewhere
    for each in made:
        await each.close()


async def test_a_secret_in_vault(make: Any, served: FakeVault) -> None:
    """Below the project's prefix; a number is its text; the namespace is sent along."""
    elsewhere = make(namespace="team")

    assert await one(elsewhere, "vault:db#pw") == "hush"
    assert await one(elsewhere, "vault:db#port") == "5432"
    assert served.namespaces == {"team"}


@pytest.mark.parametrize("place", ["../other/db#pw", "db", "db#", "#pw", "/db#pw", "a//b#pw", "./db#pw", "db%2f..#pw"])
async def test_no_path_leads_out_of_the_prefix(make: Any, served: FakeVault, place: str) -> None:
    """Nor to another project's secrets."""
    await why_not(make(), f"vault:{place}")

    assert all(path.startswith("/v1/secret/data/shop/") for _, path, _ in served.requests)


async def test_it_is_remembered(make: Any, served: FakeVault) -> None:
    """Many who name one secret ask once; who asks afresh asks again."""
    elsewhere = make()
    await asyncio.gather(*(one(elsewhere, "vault:db#pw") for _ in range(20)))
    served.secrets["shop/db"]["pw"] = "new"

    remembered = await one(elsewhere, "vault:db#pw")
    fresh = await one(elsewhere, "vault:db#pw", fresh=True)

    assert (remembered, fresh, served.asked("/v1/secret/data/shop/db")) == ("hush", "new", 2)


async def test_a_login_by_approle(make: Any, served: FakeVault, tmp_path: Path) -> None:
    """One login for all that is read."""
    (tmp_path / "id").write_text("secret-id-1\n")
    elsewhere = make(token=None, role_id="role-1", secret_id_file=tmp_path / "id")

    assert await one(elsewhere, "vault:db#pw") == "hush"
    assert await one(elsewhere, "vault:db#pw", fresh=True) == "hush"
    assert served.asked("/v1/auth/approle/login") == 1


async def test_a_lent_token_is_renewed(make: Any, served: FakeVault, tmp_path: Path) -> None:
    """Before it runs out."""
    (tmp_path / "id").write_text("secret-id-1")
    served.lease_s = 1
    elsewhere = make(token=None, role_id="role-1", secret_id_file=tmp_path / "id")
    await one(elsewhere, "vault:db#pw")
    await asyncio.sleep(0.75)

    await one(elsewhere, "vault:db#pw", fresh=True)

    assert served.asked("/v1/auth/token/renew-self") == 1 and served.asked("/v1/auth/approle/login") == 1


async def test_a_revoked_token_is_replaced(
    make: Any, served: FakeVault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a new login; one that was made just now is not, so that a policy that forbids makes no storm of logins."""
    (tmp_path / "id").write_text("secret-id-1")
    elsewhere = make(token=None, role_id="role-1", secret_id_file=tmp_path / "id")
    await one(elsewhere, "vault:db#pw")
    served.tokens.clear()

    refused = await why_not(elsewhere, "vault:other#pw")
    monkeypatch.setattr(vault_module, "NEW_LOGIN_AFTER_S", 0.0)
    found = await one(elsewhere, "vault:db#pw", fresh=True)

    assert "policy" in refused and found == "hush"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, b'{"errors":["Vault is sealed"]}'), "sealed"),
        ((500, b"<html>"), "500"),
        ((200, b"not json"), "version 2"),
        ((200, b'{"data": {"pw": "v1"}}'), "version 2"),
        ((307, b""), "elsewhere"),
        ((200, b"x" * (1024 * 1024 + 1)), "1 MiB"),
    ],
)  # fmt: skip
async def test_bad_weather(make: Any, served: FakeVault, answer: tuple[int, bytes], said: str) -> None:
    """Is told as what it is."""
    served.answer = answer

    assert said in await why_not(make(), "vault:db#pw")


async def test_a_silent_vault_ends_by_the_deadline(
    make: Any, served: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever."""
    monkeypatch.setattr(vault_module, "DEADLINE_S", 0.2)
    served.delay_s = 1.0

    said = await why_not(make(), "vault:db#pw")

    assert "did not answer" in said


async def test_what_is_not_there_says_so(make: Any) -> None:
    """The path, or the key."""
    assert "is not in Vault" in await why_not(make(), "vault:nothing#pw")
    assert "under the key" in await why_not(make(), "vault:db#nothing")
