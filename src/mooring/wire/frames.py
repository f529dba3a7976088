"""
The frames between control plane and worker: JSON texts, one or more to a message, one to a line, at most 1 MiB.

    → hello   the worker says what it has        ← hello   how the control plane goes on from there
    ← put, del  staged                           ← commit  apply everything since the last one
    ← material  what the puts around it use
    → report  what the worker observed           ↔ ping, pong
    ← test    probe these settings once          → result  how that went, step by step
    ← reset   forget, and say hello again        ← bye     come back later

Field by field they are the classes below.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

PROTOCOL = 1
MAX_FRAME = 1 << 20
MAX_EXCEPTIONS = 2_000
HEARTBEAT_S = 15
Whole = Annotated[int, Field(ge=0, le=2**53)]
"""A number that every store can keep, whoever sent it."""

LEASE_S = 40
APPLY_PATIENCE_S = 0.05
"""How long a worker waits for slow connections before it reports them as pending, so that they hold up no other."""

MAX_PENDING = 200
BACK_PRESSURE_S = 2.0
"""A worker with more connections than that being applied takes so much longer to ask for the next ones."""


class NotAFrame(ValueError):
    """The text is no frame of this protocol."""


class Frame(BaseModel):
    """One message. Unknown keys are ignored: a newer peer may say more."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore")

    t: str

    def text(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_none=True)


LONGEST_EGRESS = 1000


class Hello(Frame):
    """
    The worker's first frame: what it has. `public_key` is base64; an attached process says `attach`.

    `egress` says in words where it may connect to; it is shown, and decides nothing.
    """

    t: Literal["hello"] = "hello"
    proto: int = PROTOCOL
    incarnation: str = Field(max_length=64)
    epoch: str | None = Field(None, max_length=64)
    revision: Whole = 0
    digest: str | None = Field(None, max_length=64)
    receipt: str | None = Field(None, max_length=64)
    version: str = Field("", max_length=64)
    types: list[str] = []
    egress: str = Field("", max_length=LONGEST_EGRESS)
    attach: bool = False
    environment: str | None = Field(None, max_length=255)
    public_key: str | None = Field(None, max_length=64)


class Welcome(Frame):
    """The answer to hello. `environment_key` opens sealed secrets; it is wrapped for this worker alone (base64)."""

    t: Literal["welcome"] = "welcome"
    proto: int = PROTOCOL
    session: str
    epoch: str
    head: int
    mode: Literal["delta", "snapshot"]
    heartbeat_s: int = HEARTBEAT_S
    environment: str
    environment_key_id: str
    environment_key: str


class Put(Frame):
    """
    The worker shall hold this generation.

    `config` is the public document with its holes; `sealed` base64 of the secrets by key, under the environment's key.
    `materials` says by hash what stands behind the fields that name a keystore or certificate; a field whose material
    does not exist is not in it. `variables` are those that it uses and that have a value, sealed likewise: by name key the
    value, and whether it may be shown.
    """

    t: Literal["put"] = "put"
    revision: int
    id: str
    project: str
    name: str
    type: str
    generation: int
    enabled: bool
    hash: str
    config: dict[str, Any]
    sealed: str | None = None
    materials: dict[str, str] = {}
    variables: str | None = None

    @staticmethod
    def variables_context_of(put: str, hash_: str) -> bytes:
        """What `variables` is bound to: these values of this connection."""
        return f"{put}|{hash_}|variables".encode()


class Material(Frame):
    """
    A keystore or certificate, opened, for the puts of the same commit (or the same test) that name it by *hash*.

    Nobody remembers what the other side still has: a commit stands for itself. `sealed` is base64, under the
    environment's key.
    """

    t: Literal["material"] = "material"
    hash: str = Field(max_length=64)
    sealed: str


class Delete(Frame):
    """The worker shall let go of it."""

    t: Literal["del"] = "del"
    revision: int
    id: str
    generation: int


class Commit(Frame):
    """
    Apply everything staged since the last one.

    `complete`: nothing newer is waiting; this ends a snapshot. `digest` is then that of all present connections, hex.
    """

    t: Literal["commit"] = "commit"
    nonce: int
    revision: int
    complete: bool
    digest: str | None = None
    receipt: str


class ExceptionFrame(BaseModel):
    """One connection that is not well on this worker."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore")

    id: str = Field(max_length=64)
    generation: Whole
    serving_generation: Whole | None = None
    state: Literal["pending", "failed", "held"]
    reason: str = Field(max_length=64)
    message: str = Field(max_length=2000)
    since: Annotated[int, Field(ge=0, le=4_102_444_800_000)]  # until 2100: it is shown as a date


class Report(Frame):
    """What the worker observed: everything up to `observed_revision` is applied, save the exceptions."""

    t: Literal["report"] = "report"
    session: str = Field(max_length=64)
    epoch: str = Field(max_length=64)
    nonce: Whole
    observed_revision: Whole
    digest: str | None = Field(None, max_length=64)
    receipt: str = Field("", max_length=64)
    exceptions: list[ExceptionFrame] = Field([], max_length=MAX_EXCEPTIONS)
    not_listed: int = 0
    health: dict[str, str] = {}


class ProbeJob(Frame):
    """
    Probe these settings once, on a throw-away client, and say how it went: a `result` with the same job.

    `put` describes them like a stored connection; its id is the job, its generation 0.
    """

    t: Literal["test"] = "test"
    job: str = Field(max_length=64)
    deadline_s: float = Field(gt=0, le=60)
    put: Put


class StepFrame(BaseModel):
    """One step of a probe. `took_ms` is milliseconds; `remedy` says what to do next."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore")

    step: str = Field(max_length=64)
    state: Literal["passed", "failed", "skipped", "unknown"]
    took_ms: float = 0.0
    code: str | None = Field(None, max_length=64)
    message: str | None = Field(None, max_length=2000)
    remedy: str | None = Field(None, max_length=2000)


class ProbeResult(Frame):
    """How a probe went. Where the client could not even be built, `reason` is a code of delivery and there are no steps."""

    t: Literal["result"] = "result"
    job: str = Field(max_length=64)
    success: bool
    took_ms: float = 0.0
    steps: list[StepFrame] = Field([], max_length=50)
    reason: str | None = Field(None, max_length=64)
    message: str | None = Field(None, max_length=2000)


class Ping(Frame):
    t: Literal["ping"] = "ping"


class Pong(Frame):
    t: Literal["pong"] = "pong"


class Reset(Frame):
    """Forget what you have of this environment, and say hello again."""

    t: Literal["reset"] = "reset"
    why: str = ""


class Bye(Frame):
    """The stream ends; come back after `retry_after_ms`, or never where it is 0 (`why` says so)."""

    t: Literal["bye"] = "bye"
    retry_after_ms: int
    why: str = ""


FromWorker = Annotated[Hello | Report | ProbeResult | Ping | Pong, Field(discriminator="t")]
FromControl = Annotated[
    Welcome | Put | Material | Delete | Commit | ProbeJob | Ping | Pong | Reset | Bye, Field(discriminator="t")
]
_FROM_WORKER: TypeAdapter[Any] = TypeAdapter(FromWorker)
_FROM_CONTROL: TypeAdapter[Any] = TypeAdapter(FromControl)


def from_worker(text: str) -> Hello | Report | ProbeResult | Ping | Pong:
    """The frame that a worker sent. Raises `NotAFrame`."""
    return cast("Hello | Report | ProbeResult | Ping | Pong", _read(_FROM_WORKER, text))


def from_control(text: str) -> Welcome | Put | Material | Delete | Commit | ProbeJob | Ping | Pong | Reset | Bye:
    """One frame that the control plane sent. Raises `NotAFrame`."""
    return cast(
        "Welcome | Put | Material | Delete | Commit | ProbeJob | Ping | Pong | Reset | Bye", _read(_FROM_CONTROL, text)
    )


def _read(adapter: TypeAdapter[Any], text: str) -> Any:
    if len(text) > MAX_FRAME:
        raise NotAFrame("the frame is over 1 MiB")
    try:
        return adapter.validate_json(text)
    except ValidationError as exc:
        raise NotAFrame(f"not a frame: {exc.error_count()} problems") from None


class Enrolment(BaseModel):
    """What a worker sends, once, to become one: `POST /worker/v1/enrol`."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid")

    token: str = Field(max_length=200)
    environment: str = Field(max_length=255)
    name: str = Field(max_length=255)
    public_key: str = Field(max_length=64)


class Enrolled(BaseModel):
    """The worker's own credential, shown once."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)

    worker: str
    credential: str
    environment: str

    @classmethod
    def read(cls, text: str) -> Self:
        return cls.model_validate_json(text)
