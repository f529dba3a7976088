"""What a test needs to look into Elasticsearch and OpenSearch: their own API by `curl`, and keystores in files."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509 import load_pem_x509_certificates

from tests.support.services import Service


class Said(NamedTuple):
    """What a node answered."""

    status: int
    body: Any


def ask(node: Service, method: str, path: str, body: Any = None) -> Said:
    """What *node* answers to its administrator, by `curl`."""
    command = [
        "curl", "-sS", "--max-time", "20", "-X", method, "-w", "\n%{http_code}", "--cacert", node.ca,
        "--user", f"{node['admin_user']}:{node['admin_password']}",
        f"{node['scheme']}://{node['host']}:{node['port']}{path}",
    ]  # fmt: skip
    if body is not None:
        command += ["-H", "Content-Type: application/json", "--data-binary", "@-"]
    text = None if body is None else json.dumps(body)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=True)
    said, _, status = done.stdout.rpartition("\n")
    return Said(int(status), json.loads(said) if said.strip() else None)


def document(node: Service, index: str, number: str) -> Any:
    """The document of that id, once it is there: None after some seconds."""
    deadline = time.monotonic() + 5
    while True:
        said = ask(node, "GET", f"/{index}/_doc/{number}")
        if said.status == 200 or time.monotonic() > deadline:
            return said.body.get("_source")
        time.sleep(0.05)


def count(node: Service, index: str) -> int:
    """How many documents there are in *index*, those included that a search does not find yet."""
    ask(node, "POST", f"/{index}/_refresh")
    return int(ask(node, "GET", f"/{index}/_count").body.get("count", 0))


def truststore(path: str, password: str) -> str:
    """The certificates in *path* as a PKCS12 file in base64."""
    certificates = load_pem_x509_certificates(Path(path).read_bytes())
    kind = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return base64.b64encode(serialize_key_and_certificates(b"ca", None, None, certificates, kind)).decode()


def keystore(certificate: str, key: str, password: str) -> str:
    """A certificate and its key as a PKCS12 file in base64."""
    own, *issuers = load_pem_x509_certificates(Path(certificate).read_bytes())
    private: Any = load_pem_private_key(Path(key).read_bytes(), None)
    kind = BestAvailableEncryption(password.encode())
    return base64.b64encode(serialize_key_and_certificates(b"client", private, own, issuers, kind)).decode()


def pem(path: str) -> str:
    """The file in base64."""
    return base64.b64encode(Path(path).read_bytes()).decode()
