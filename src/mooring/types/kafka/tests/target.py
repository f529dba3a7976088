"""What the conformance suite needs to know of this room."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

FIRST_USE: tuple[str, dict[str, Any]] = ("publish", {"value": "hello"})


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """
    *body* pointed at another address, its login kept.

    TLS is switched off: the example's stores exist nowhere, and a missing one is told before the network is.
    """
    body, address = deepcopy(body), f"{host}:{port}"
    body["enableSecure"] = False
    if body.get("bootstrapServers"):
        body["bootstrapServers"] = address
    properties = body.get("propertiesMap") or {}
    if "bootstrap.servers" in properties:
        properties["bootstrap.servers"] = {"value": address, "valueType": "STRING"}
    if properties.get("security.protocol", {}).get("value") == "SASL_SSL":
        properties["security.protocol"]["value"] = "SASL_PLAINTEXT"
    return body
