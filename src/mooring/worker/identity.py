"""Who a worker is: its credential and its key pair, in a file of mode 0600, made when it enrols."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2

from mooring.errors import NotAuthenticated, Unavailable
from mooring.kit.aead import new_receiver_key
from mooring.kit.files import write_private
from mooring.kit.tls import control_context
from mooring.wire.frames import Enrolled, Enrolment


@dataclass(frozen=True)
class Identity:
    """An enrolled worker. `private_key` is base64."""

    worker: str
    name: str
    environment: str
    credential: str
    private_key: str

    def __repr__(self) -> str:
        return f"<Identity {self.worker}>"

    @property
    def key(self) -> bytes:
        return base64.b64decode(self.private_key)


def read_identity(path: Path) -> Identity | None:
    """The identity kept in *path*, or None. Raises `Unavailable` where the file is damaged."""
    try:
        return Identity(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise Unavailable(f"{path.name} is damaged", hint="Remove it, and enrol this worker again.") from None


async def enrol(
    url: str, token: str, environment: str, name: str, path: Path, *, ca_file: Path | None = None
) -> Identity:
    """Become a worker of *environment*, once, and keep the identity in *path*."""
    private, public = new_receiver_key()
    body = Enrolment(token=token, environment=environment, name=name, public_key=base64.b64encode(public).decode())
    try:
        verify = control_context(url, ca_file) or False  # nothing to verify on plain HTTP
        async with httpx2.AsyncClient(trust_env=False, timeout=10, verify=verify) as client:
            response = await client.post(
                f"{url.rstrip('/')}/worker/v1/enrol",
                content=body.model_dump_json(by_alias=True),
                headers={"Content-Type": "application/json"},
            )
    except httpx2.HTTPError as exc:
        raise Unavailable(
            f"the control plane at {url} cannot be reached ({type(exc).__name__})",
            hint="Check the URL, that it runs, and that its certificate is trusted (MOORING_CA_FILE).",
        ) from exc
    if response.status_code == 401:
        raise NotAuthenticated(
            "the enrolment token was used before, has expired, or belongs to another environment",
            hint="mooring worker enroll --environment NAME prints a new one.",
        )
    if response.status_code != 200:
        raise Unavailable(
            f"the control plane answered {response.status_code} to the enrolment", hint="Look at its log."
        )
    enrolled = Enrolled.read(response.text)
    identity = Identity(
        enrolled.worker, name, enrolled.environment, enrolled.credential, base64.b64encode(private).decode()
    )
    write_private(path, json.dumps(asdict(identity)))
    return identity
