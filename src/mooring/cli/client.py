"""The client that the command line uses: MOORING_URL, MOORING_TOKEN and MOORING_CA_FILE."""

from __future__ import annotations

from mooring.errors import NotAuthenticated
from mooring.kit.settings import read_settings
from mooring.sdk.client import Client


def client() -> Client:
    """Raises `NotAuthenticated` where no token is set."""
    settings = read_settings()
    if settings.token is None:
        raise NotAuthenticated(
            "no token is set",
            hint="Put one in MOORING_TOKEN; the first start leaves the administrator's in <data-dir>/admin-token.",
        )
    return Client(
        settings.url,
        settings.token.get_secret_value(),
        ca_file=settings.ca_file,
        allow_plain_http=settings.allow_plain_http,
    )
