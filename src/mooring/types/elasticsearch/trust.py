"""Whom a connection trusts, and what it shows of itself: TLS from the fields of the model."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl

from pydantic import SecretStr

from mooring.errors import Misconfigured
from mooring.kit.keystore.opened import Opened, Unreadable
from mooring.kit.keystore.reader import open_file
from mooring.kit.tls import client_context
from mooring.plugin.connector import Context
from mooring.plugin.materials import Store
from mooring.types.elasticsearch.model import ElasticsearchConfig


async def tls_context(config: ElasticsearchConfig, context: Context) -> ssl.SSLContext:
    """The context for all nodes. Raises `Misconfigured`."""
    trusted, identity = await _files(config)
    find = context.materials.store
    if config.trust_store_name:
        trusted = find(config.trust_store_name).trusted or _nothing("the chosen truststore")
    if config.key_store_name:
        identity = find(config.key_store_name).identity()
    try:
        return client_context(
            verify_hostname=not config.disable_hostname_verification,
            ca_file=context.ca_file,
            trusted_pem=trusted,
            identity_pem=identity,
            purpose="http",
        )
    except (ssl.SSLError, ValueError) as exc:
        raise Misconfigured(
            "the certificates of this connection cannot be used for TLS", hint="Check the truststore and the keystore."
        ) from exc


async def _files(config: ElasticsearchConfig) -> tuple[str | None, str | None]:
    """What the files in the connection itself hold, as far as they count: trusted certificates, and an identity."""
    kind = config.encrypt_communication_type if config.encrypt_communication else None
    word = config.ca_truststore_file_pass
    if kind == "CA_CERTIFICATE_IN_PKCS_12" and not config.trust_store_name:
        opened = await _opened("PKCS12", "caCertInPkcs12File", config.ca_cert_in_pkcs12_file, word)
        return opened.trusted or _nothing("caCertInPkcs12File"), None
    if kind == "CA_IN_PEM_FILE" and not config.trust_store_name:
        opened = await _opened("PEM", "caInPemFile", config.ca_in_pem_file, None)
        return opened.trusted or _nothing("caInPemFile"), None
    if kind != "CERT_AND_PRIVATE_KEY_IN_PKCS_12":
        return None, None
    trusted = identity = None
    if _said(config.ca_truststore_file) and not config.trust_store_name:
        opened = await _opened("PKCS12", "caTruststoreFile", config.ca_truststore_file, word)
        trusted = opened.trusted or _nothing("caTruststoreFile")
    if not config.key_store_name:
        opened = await _opened("PKCS12", "caKeystoreFile", config.ca_keystore_file, config.ca_keystore_file_pass)
        identity = Store(chain=opened.chain, key=opened.key).identity()
    return trusted, identity


async def _opened(kind: str, field: str, file: SecretStr | None, password: SecretStr | None) -> Opened:
    text = _said(file).strip()
    try:
        # The text of a PEM file itself is taken too.
        data = (
            text.encode() if text.startswith("-----BEGIN") else base64.b64decode("".join(text.split()), validate=True)
        )
    except (binascii.Error, ValueError):
        raise Misconfigured(f"{field} is not base64", hint="Send the file in base64.") from None
    try:
        # Hashing its password takes a moment, which the event loop has not.
        return await asyncio.to_thread(open_file, kind, data, _said(password) or None, None)
    except Unreadable as exc:
        raise Misconfigured(
            f"{field} cannot be opened: {exc.reason}", hint="Check the file, and the password that goes with it."
        ) from exc


def _said(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()


def _nothing(what: str) -> str:
    raise Misconfigured(
        f"{what} holds no certificate to trust", hint="Add the issuer of the nodes' certificates to it."
    )
