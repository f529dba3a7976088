"""The bodies that make keystores and certificates, as JSON or as a form."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError

from mooring.plugin.fields import NO_CONTROL
from mooring.wire.bodies import Sent

MAX_FILE_TEXT = 720_000
"""Base64 of 512 KiB, and some line ends."""

MAX_ENVIRONMENTS = 100
TYPES = ("JKS", "PKCS12", "PEM")

KEYSTORE_ANSWERS: frozenset[str] = frozenset({"id", "projectId", "projectName", "generation", "createdAt", "updatedAt"})
"""Keys of our own answers, which requests may carry: ignored."""

ENTRY_ANSWERS: frozenset[str] = frozenset({"entries", "entryCount", "expiresAt", "environmentId"})
CERTIFICATE_ANSWERS: frozenset[str] = KEYSTORE_ANSWERS | {"name", "description", "certificateEnvironmentList"}

_Text = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=1000)]
_Name = Annotated[str, StringConstraints(max_length=255)]


def _type(value: Any) -> Any:
    if isinstance(value, str):
        if value.upper() not in TYPES:
            raise PydanticCustomError("store_type", f"must be one of {', '.join(TYPES)}")
        return value.upper()
    return value


def _names(value: Any) -> Any:
    """A list of environments, or their names with commas between, as forms have it."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return value


_StoreType = Annotated[str, BeforeValidator(_type), Field(json_schema_extra={"enum": list(TYPES)})]


class KeystoreEnvironment(Sent):
    """What a keystore is in one environment."""

    environment_name: _Name | None = Field(None, description="The environment.")
    type: _StoreType | None = Field(None, description="JKS, PKCS12 or PEM.")
    key_store_type: _StoreType | None = Field(None, description="The same under its newer name.")
    file: SecretStr | None = Field(
        None,
        max_length=MAX_FILE_TEXT,
        description="The file in base64, at most 512 KiB. Write-only; absent on PUT: kept.",
    )
    password: SecretStr | None = Field(
        None, max_length=1000, description="Its password. Write-only; absent on PUT: kept, empty: none."
    )
    alias: _Text | None = Field(
        None, description="Which entry is meant, where there are several keys. Absent on PUT: kept, empty: none."
    )


class KeystoreBody(Sent):
    """A keystore or truststore, with a file for each environment."""

    name: _Name | None = Field(None, description="Its name, unique in the project ignoring case; on PUT a new one.")
    description: _Text | None = Field(None, description="Free text. Absent on PUT: kept.")
    key_store_environment_list: list[KeystoreEnvironment] | None = Field(
        None, max_length=MAX_ENVIRONMENTS, description="All environments that have one. Absent on PUT: kept."
    )


class CertificateBody(Sent):
    """A certificate, for some environments."""

    certificate_name: _Name | None = Field(None, description="Its name, unique in the project ignoring case.")
    alias: _Text | None = Field(None, description="Unique in each environment. Absent on PUT: kept.")
    certificate_description: _Text | None = Field(None, description="Free text. Absent on PUT: kept.")
    environment_list: Annotated[list[_Name], BeforeValidator(_names)] | None = Field(
        None,
        max_length=MAX_ENVIRONMENTS,
        description="Names of environments: a list, or text with commas. Absent on PUT: kept.",
    )
    pem_encoded_file: str | None = Field(
        None,
        max_length=MAX_FILE_TEXT,
        description="The certificate in PEM, with its BEGIN and END lines. Absent on PUT: kept.",
    )
