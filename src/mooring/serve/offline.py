"""What is done to a data directory, and not through the API: another master key, a check of the audit."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from mooring.control import rewrapping
from mooring.control.audit import read_copy, read_head
from mooring.errors import BadRequest, Unavailable
from mooring.kit.settings import Settings
from mooring.seal.choosing import key_file_of, kms_of, provider_of
from mooring.seal.keys import FileKey, GivenKey, KeyProvider
from mooring.seal.opening import open_ring
from mooring.serve.opening import AUDIT, opened_ring
from mooring.store import sqlite_audit, sqlite_seals
from mooring.store.audit_chain import Chain, Verdict
from mooring.store.base import SaveDataKey
from mooring.store.sqlite import SqliteStore


async def rewrap(settings: Settings, *, file: Path | None, kms: str | None, environment: bool) -> str:
    """Put the keys of a data directory that nobody holds under another master key; what to set from now on."""
    before = provider_of(settings)
    after: KeyProvider
    path = key_file_of(settings)
    if kms is not None:
        after, told = kms_of(settings, kms), f"MOORING_KEY_PROVIDER=kms MOORING_KMS_KEY_ID={kms}"
    elif environment:
        given = settings.new_master_key
        after = GivenKey(given.get_secret_value() if given else "", "MOORING_NEW_MASTER_KEY")
        told = "MOORING_MASTER_KEY to what MOORING_NEW_MASTER_KEY is now"
    elif file is not None and file != path:
        after, told = FileKey(file), f"MOORING_KEY_PROVIDER=file MOORING_KEY_FILE={file}"
    elif path is not None:
        after, told = FileKey(path).next(), ""
    else:
        raise BadRequest("where should the new master key be?", hint="--to-file, --to-kms or --to-environment.")
    store = SqliteStore(settings.data_dir)
    await store.open()
    try:
        if await store.data_keys():
            ring, fresh = await opened_ring(store, before)
            store.hang_audit(ring.derived(AUDIT))
            for key in fresh:
                await store.commit(SaveDataKey(key))
        await rewrapping.rewrap(store, before, after)
    finally:
        await store.close()
    if path is not None and not told:
        FileKey(path).advance()
    return told


async def check_audit(settings: Settings, copy: Path | None, kept: dict[str, Any] | None) -> Verdict:
    """
    Whether the audit in the data folder, or its *copy*, is whole, and ends where a *kept* head says or later.

    Reads only, also while a control plane runs there. Raises `Unavailable`, `KeyUnavailable`, `BadRequest`.
    """
    head = read_head(kept) if kept is not None else None
    path = settings.data_dir / "mooring.db"
    if not path.exists():
        raise Unavailable(f"there is no {path.name} in {settings.data_dir}", hint="Give --data-dir.")
    try:
        with contextlib.closing(sqlite_audit.read_only(path)) as db:
            keys = sqlite_seals.data_keys(db)
            if not any(key.is_root for key in keys):
                raise Unavailable(
                    "there is no chain to check yet", hint="It begins when this version starts on the data."
                )
            chain = Chain((await open_ring(provider_of(settings), keys)).derived(AUDIT))
            if copy is not None:
                with copy.open(encoding="utf-8") as lines:
                    return chain.verify(*read_copy(lines), head)
            return sqlite_audit.verified(db, chain, head)
    except (OSError, UnicodeDecodeError, sqlite_audit.Error) as exc:
        raise Unavailable(f"the audit cannot be read ({type(exc).__name__})", hint="Check who may read it.") from exc
