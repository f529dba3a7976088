"""
Mooring: a control plane for connections.

    async with mooring.attach(url, token, "development") as worker:
        answer = await worker["MyProject/orders-db"].query("select 1")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "MooringError", "__version__", "attach"]

if TYPE_CHECKING:
    from mooring.errors import MooringError
    from mooring.sdk.attach import attach
    from mooring.sdk.client import AsyncClient, Client

_HOMES = {
    "attach": "mooring.sdk.attach",
    "AsyncClient": "mooring.sdk.client",
    "Client": "mooring.sdk.client",
    "MooringError": "mooring.errors",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: `import mooring` alone stays light."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mooring' has no attribute {name!r}")
