"""Which key provider the settings mean."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import SecretStr

from mooring.errors import BadRequest
from mooring.kit.settings import Settings
from mooring.seal.keys import FileKey, GivenKey, KeyProvider


def key_file_of(settings: Settings) -> Path | None:
    """The key file in use, or None where the key comes from elsewhere."""
    if settings.key_provider == "file" or (settings.key_provider == "auto" and settings.master_key is None):
        return settings.key_file or settings.data_dir / "master.key"
    return None


def provider_of(settings: Settings) -> KeyProvider:
    """Where the master key comes from. Raises `BadRequest` where a setting for it is missing."""
    path = key_file_of(settings)
    if path is not None:
        return FileKey(path)
    if settings.key_provider == "kms":
        return kms_of(settings, settings.kms_key_id)
    if settings.master_key is None:
        raise BadRequest("MOORING_MASTER_KEY is not set", hint="openssl rand -base64 32 makes one.")
    return GivenKey(settings.master_key.get_secret_value())


def kms_of(settings: Settings, key_id: str | None) -> KeyProvider:
    """The key *key_id* of the key service. Raises `BadRequest`."""
    from mooring.seal.kms import KmsAccount, KmsKey

    region = settings.kms_region or _region_in(key_id) or os.environ.get("AWS_REGION")
    access = settings.kms_access_key_id or os.environ.get("AWS_ACCESS_KEY_ID")
    secret = _text(settings.kms_secret_access_key) or os.environ.get("AWS_SECRET_ACCESS_KEY")
    token = _text(settings.kms_session_token) or os.environ.get("AWS_SESSION_TOKEN")
    needed = {"KEY_ID": key_id, "REGION": region, "ACCESS_KEY_ID": access, "SECRET_ACCESS_KEY": secret}
    missing = [f"MOORING_KMS_{name}" for name, value in needed.items() if not value]
    if missing or not (key_id and region and access and secret):
        raise BadRequest(f"a key service needs {', '.join(missing)}", hint="See the settings in operations.md.")
    endpoint = settings.kms_endpoint or f"https://kms.{region}.amazonaws.com/"
    if not endpoint.startswith(("https://", "http://")):
        raise BadRequest("MOORING_KMS_ENDPOINT is not an http or https URL")
    ca_file = str(settings.ca_file) if settings.ca_file else None
    return KmsKey(KmsAccount(endpoint, region, access, secret, token), key_id, ca_file=ca_file)


def _region_in(key_id: str | None) -> str | None:
    """The region in an ARN: arn:aws:kms:REGION:account:key/id."""
    parts = (key_id or "").split(":")
    return parts[3] if len(parts) > 5 else None


def _text(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value is not None else None
