"""
What a store promises, whichever database is behind it.

- A change is committed whole or not at all, and durable when `commit` returns.
- Names are unique by their key; the database's unique index decides a race.
- Revisions of an environment have no gaps, and their order is the order of commits.
- Reads see every commit that returned before they began.

Changes are data (the classes below); a store batches as many as are waiting into one transaction, each under
a savepoint, so one that fails takes nothing else with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from mooring.domain.records import (
    AuditEntry,
    AuditFilter,
    Connection,
    DataKey,
    Deployment,
    DesiredRow,
    Environment,
    FoundMaterial,
    FoundVariable,
    Material,
    MaterialContent,
    MaterialSecret,
    Membership,
    Project,
    Reference,
    SealedSecret,
    Share,
    Standing,
    Token,
    User,
    Worker,
)
from mooring.domain.sealed_places import SealedPlace
from mooring.errors import Conflict, Unavailable
from mooring.kit.record import record
from mooring.store.audit_chain import Head, Link


class Stale(Conflict):
    """The record moved since it was read: read again and repeat."""


class KeyGone(Stale):
    """A value was sealed with a data key that was destroyed meanwhile: seal it again and repeat."""


class NameTaken(Conflict):
    """Another record has that name."""


class AliasTaken(Conflict):
    """Another certificate has that alias in the same project and environment."""


@record
class TrustWatch:
    """
    What must not become wider beside a change of something that connections share.

    `fields` are, for each type, the references that say what is trusted; of a type that is not in it, every one is
    taken for such. `allowed` are the connections that may trust more: somebody was asked.
    """

    fields: Mapping[str, frozenset[str]]
    allowed: frozenset[str] = frozenset()


@record
class Moved:
    """
    A connection whose secrets a change of something shared would take elsewhere.

    `fields` are the wire names of what moved, `secrets` the keys of the secrets that would follow.
    """

    connection: Connection
    project_name: str
    fields: tuple[str, ...]
    secrets: tuple[str, ...]


class Widens(Conflict):
    """The change would widen what connections trust that keep a secret; nothing was written."""

    def __init__(self, found: Sequence[Moved]) -> None:
        super().__init__("connections that keep a secret would trust more than before")
        self.found = tuple(found)


class Used(Conflict):
    """The material is used by connections, each with its project's name; nothing was written."""

    def __init__(self, users: Sequence[tuple[Connection, str]]) -> None:
        super().__init__("connections use it")
        self.users = tuple(users)


@record
class Idempotency:
    """A client's Idempotency-Key. `request_hash` is keyed, because the request may hold secrets."""

    token: str
    key: str
    request_hash: bytes
    at: int


@record
class IdempotencyRecord:
    """What was committed under an Idempotency-Key. `body` is None until the answer was sent once."""

    request_hash: bytes
    deployments: tuple[str, ...]
    connection: str
    generation: int
    body: str | None


@record
class SaveConnection:
    """
    Create a connection (`expected_generation` None), or replace one that still has that generation.

    `secrets` are those to write; `dropped` the keys of those to destroy. `was_deployed` tells whether workers
    may hold an earlier generation, which must go when `connection.deploy` is false.
    """

    connection: Connection
    expected_generation: int | None
    secrets: Sequence[SealedSecret]
    dropped: Sequence[str]
    was_deployed: bool
    audit: AuditEntry
    idempotency: Idempotency | None = None


@record
class DeleteConnection:
    """Destroy a connection and its secrets, and tell every environment that it should be absent."""

    connection: Connection
    audit: AuditEntry
    idempotency: Idempotency | None = None


@record
class SaveMaterial:
    """
    Create a keystore, certificate or variable (`expected_generation` None), or replace one that still has that generation.

    `contents` is all that it has from now on; what other environments had is destroyed. `secrets` are those to
    write, `dropped` (environment, key) of those to destroy. Connections that use it are desired anew, in the same
    generation, wherever something else stands behind their references now.

    Raises `Used` where it would leave the name that connections use, and `Widens` as *watch* says.
    """

    material: Material
    expected_generation: int | None
    contents: Sequence[MaterialContent]
    secrets: Sequence[MaterialSecret]
    dropped: Sequence[tuple[str, str]]
    audit: AuditEntry
    idempotency: Idempotency | None = None
    watch: TrustWatch | None = None


@record
class DeleteMaterial:
    """Destroy a keystore or certificate with all it held. Raises `Used` while connections use it."""

    material: Material
    audit: AuditEntry
    idempotency: Idempotency | None = None


@record
class IndexReferences:
    """
    What connections use that were stored before materials, or variables, were kept: (connection, its document, its references).

    A connection that moved meanwhile is left alone: whoever moved it said what it uses.
    """

    connections: Sequence[tuple[Connection, str, tuple[Reference, ...]]]
    at: int


@record
class NoteRequest:
    """Remember a request under an Idempotency-Key that found nothing to change, with what it answers about."""

    idempotency: Idempotency
    connection: Connection | Material
    deployments: Sequence[Deployment]


@record
class FinishIdempotency:
    """Remember the answer that was given under an Idempotency-Key."""

    token: str
    key: str
    body: str


@record
class CreateProject:
    project: Project
    audit: AuditEntry


@record
class DeleteProject:
    """Refused with `Conflict`, which says what, while it has connections or materials, or an environment is bound to it alone."""

    project: Project
    audit: AuditEntry


@record
class SaveEnvironment:
    """Create or replace an environment; a new one, or one bound anew, gets the connections of its projects. Raises `Stale`, `Widens`."""

    environment: Environment
    is_new: bool
    audit: AuditEntry
    watch: TrustWatch | None = None


@record
class DeleteEnvironment:
    environment: Environment
    audit: AuditEntry


@record
class StartEpoch:
    """A new lineage for an environment: every worker gets a snapshot."""

    environment: str
    epoch: str


@record
class CreateToken:
    token: Token
    audit: AuditEntry


@record
class RevokeToken:
    """End a token, and those that were exchanged for it."""

    token: str
    at: int
    audit: AuditEntry


@record
class SaveUser:
    """
    Create or replace a user; `memberships` are all from now on, or None where they stay.

    `ends_sessions` revokes the tokens that the user has logged in for. Raises `NameTaken`, `Stale`.
    """

    user: User
    is_new: bool
    memberships: Sequence[Membership] | None
    ends_sessions: bool
    audit: AuditEntry


@record
class DeleteUser:
    """Destroy a user with all that was granted to them, and revoke their tokens. Raises `Stale`."""

    user: User
    audit: AuditEntry


@record
class SaveShare:
    """Grant on one connection what the share says; without grants, nothing. Raises `Stale`."""

    share: Share
    audit: AuditEntry


@record
class MoveConnection:
    """
    Move a connection that is still like *before* to the project that *connection* says, with its secrets.

    Raises `Conflict` where a reference would find something else from there, `NameTaken`, `Stale`.
    """

    connection: Connection
    before: Connection
    audit: AuditEntry
    idempotency: Idempotency | None = None


@record
class TouchTokens:
    """When tokens were last used: token id to instant."""

    used: Mapping[str, int]


@record
class CreateEnrolment:
    """A one-time token for one worker of one environment."""

    id: str
    environment: str
    secret_hash: bytes
    expires_at: int
    audit: AuditEntry


@record
class EnrolWorker:
    """Use up an enrolment for *worker*. Raises `Conflict` where it was used, has expired or never was."""

    enrolment: str
    secret_hash: bytes
    worker: Worker
    at: int
    audit: AuditEntry


@record
class ForgetWorker:
    worker: str
    audit: AuditEntry


@record
class SeeWorkers:
    """What was last heard of several workers, in one write."""

    workers: Sequence[Worker]


@record
class SaveDataKey:
    """The first data key, or the root."""

    key: DataKey


@record
class RotateDataKey:
    """Another data key, which seals from now on; those that were there are retired."""

    key: DataKey
    audit: AuditEntry


@record
class SealedRow:
    """A sealed value: the values of its row's key, in the order of its place's columns."""

    keys: tuple[str, ...]
    sealed: bytes
    key_id: str


@record
class Reseal:
    """Values of *place* under another data key: (as it was read, as it shall be). One that changed meanwhile is left alone."""

    place: SealedPlace
    rows: Sequence[tuple[SealedRow, SealedRow]]


@record
class DestroyDataKey:
    """
    Destroy a retired data key. Refused with `Conflict` while a value is sealed with it.

    A change that comes later with a value sealed with it is refused with `KeyGone`.
    """

    id: str
    audit: AuditEntry


@record
class RewrapDataKeys:
    """Every data key under another master key: id to wrapped. Refused with `Conflict` unless these are all there are."""

    wrapped: Mapping[str, bytes]
    audit: AuditEntry


@record
class SaveEnvironmentKey:
    """An environment's content key, sealed. The first one stays, whoever came first."""

    environment: str
    id: str
    sealed: bytes
    key_id: str


@record
class ForgetEnvironmentKey:
    """That content key of an environment does not open: the next one takes its place."""

    environment: str
    id: str


@record
class Record:
    """An audit entry for what changed nothing, such as showing a secret."""

    audit: AuditEntry


@record
class SetMeta:
    key: str
    value: str


@record
class Forget:
    """Drop idempotency records and deployments older than the given instants."""

    idempotency_before: int
    deployments_before: int


Change = (
    SaveConnection | DeleteConnection | SaveMaterial | DeleteMaterial | IndexReferences | NoteRequest | FinishIdempotency | CreateProject | DeleteProject | SaveEnvironment
    | DeleteEnvironment | StartEpoch | CreateToken | RevokeToken | SaveUser | DeleteUser | SaveShare | MoveConnection | TouchTokens | CreateEnrolment | EnrolWorker
    | ForgetWorker | SeeWorkers | SaveDataKey | RotateDataKey | Reseal | DestroyDataKey | RewrapDataKeys | SaveEnvironmentKey | ForgetEnvironmentKey | Record | SetMeta | Forget
)  # fmt: skip


@record
class Committed:
    """
    A change is durable. `deployments` are those it started, one per environment it reaches.

    `replayed` is set, and nothing was written, where the Idempotency-Key had been used before.
    """

    deployments: tuple[Deployment, ...] = ()
    replayed: IdempotencyRecord | None = None


HeadsMoved = Callable[[Mapping[str, int]], None]
"""Called on the event loop after a commit with the new head revision of each environment it moved. A hint only."""


class Store(Protocol):
    """The one shared part. Every method may be called from many tasks at a time."""

    async def open(self) -> None:
        """Connect and migrate. Raises `Unavailable` with what to do next."""

    async def close(self) -> None:
        """Finish what is waiting, and let go."""

    def subscribe(self, moved: HeadsMoved) -> None:
        """Call *moved* when revisions move."""

    async def commit(self, change: Change) -> Committed:
        """Make *change* durable. Raises `Stale`, `NameTaken`, `Conflict`, `Unavailable`."""

    def refuse_writes(self, reason: Unavailable | None) -> None:
        """From now on every `commit` raises *reason*: nothing is written while the seal is closed. None ends that."""

    async def meta(self, key: str) -> str | None: ...
    async def data_keys(self) -> list[DataKey]:
        """Every data key, oldest first, the root among them."""

    async def sealed_rows(
        self, place: SealedPlace, *, but: str, after: tuple[str, ...] = (), limit: int
    ) -> list[SealedRow]:
        """Rows of *place* beyond the key *after* whose values are sealed with another data key than *but*."""

    async def seal_counts(self) -> dict[str, int]:
        """How many values are sealed with each data key."""

    async def environment_key(self, environment: str) -> tuple[str, bytes, str] | None:
        """Id of an environment's content key, the key sealed, and the id of the data key that sealed it."""

    async def token(self, token_id: str) -> Token | None:
        """As of a second ago at most, as far as other nodes are concerned; so is `project`."""

    async def tokens(self) -> list[Token]: ...
    async def standing(self, token: Token) -> Standing | None:
        """What counts beside the token's own grants; None where its owner is gone or disabled. As fresh as `token`."""

    async def users(self) -> list[User]: ...
    async def user(self, name_key: str) -> User | None: ...
    async def memberships(self, user_id: str) -> list[Membership]: ...
    async def shares(self, connection_id: str) -> list[Share]: ...
    async def project(self, name: str) -> Project | None: ...
    async def projects(self) -> list[Project]: ...
    async def environments(self) -> list[Environment]: ...
    async def environment(self, environment_id: str) -> Environment | None: ...
    async def environment_names(self) -> Mapping[str, str]:
        """Environment ids to names; as of a second ago at most."""

    async def workers(self) -> list[Worker]: ...
    async def worker(self, worker_id: str) -> Worker | None: ...
    async def connection(self, project_id: str, name_key: str) -> Connection | None: ...
    async def connection_by_id(self, connection_id: str) -> Connection | None: ...
    async def document(self, project_id: str, name_key: str) -> tuple[str, int] | None:
        """The JSON document and generation of a connection."""

    async def secrets(self, connection_id: str) -> list[SealedSecret]: ...
    def documents(
        self, project_id: str, type_name: str | None = None, after: str | None = None, limit: int | None = None
    ) -> AsyncIterator[tuple[str, str]]:
        """Name keys and documents of a project's connections in the order of their keys, in bounded memory."""

    async def page(
        self, project_id: str, type_name: str | None, order: str, descending: bool, offset: int, limit: int
    ) -> list[str]:
        """One page of documents. *order* is name, type, createdAt or updatedAt."""

    async def material(self, project_id: str, noun: str, name_key: str) -> Material | None: ...
    async def materials(self, project_id: str, noun: str) -> list[tuple[Material, list[MaterialContent]]]:
        """Every keystore, or every certificate, of a project in the order of their name keys, with what they have."""

    async def material_contents(self, material_id: str) -> list[MaterialContent]:
        """What a material has, by environment."""

    async def material_secrets(self, material_id: str) -> list[MaterialSecret]: ...
    async def sealed_material(self, environment: str, content: bytes) -> tuple[str, MaterialSecret] | None:
        """Id of the material whose content in *environment* has the hash *content*, and that content, sealed."""

    async def found_materials(
        self, project_id: str, environment: str, references: Sequence[Reference]
    ) -> list[FoundMaterial | None]:
        """
        What stands behind each of *references* in one environment, as one snapshot.

        The own project's comes first, then that of the project `admin`; what is looked for first is the reference's
        noun, then the other one. A material of the own project hides that of `admin` also where it has nothing.
        """

    async def variables(self, project_id: str, environment: str, names: Sequence[str]) -> list[FoundVariable | None]:
        """
        The value of each of the variables *names* in one environment, as one snapshot; None where there is none.

        The project's own for that environment comes first, then its global one, then those of the project `admin`.
        """

    async def variable_namers(self, name_keys: Sequence[str]) -> list[tuple[Connection, str]]:
        """The connections of every project that name a variable with one of those keys, with their projects' names."""

    async def material_users(self, material: Material) -> list[tuple[Connection, str]]:
        """The connections whose references find *material*, in some environment or in none, with their projects' names."""

    async def delta(self, environment: str, after: int, limit: int) -> tuple[Environment, list[DesiredRow]]:
        """The environment and the rows of its desired state beyond revision *after*, oldest first, of one snapshot."""

    async def deployments(self, connection_id: str, limit: int) -> list[Deployment]: ...
    async def deployment(self, deployment_id: str) -> Deployment | None: ...
    async def idempotency(self, token: str, key: str) -> IdempotencyRecord | None: ...
    def hang_audit(self, key: bytes) -> None:
        """From now on audit entries hang on a chain (`mooring.store.audit_chain`) under *key*. Called once, before any of them."""

    def audit_head(self) -> Head:
        """Where the chain ends."""

    def audit(self, wanted: AuditFilter, before: int | None = None) -> AsyncIterator[dict[str, Any]]:
        """The entries that *wanted* describes, newest first, those under number *before* only; in bounded memory."""

    def audit_records(self, wanted: AuditFilter) -> AsyncIterator[tuple[Link, list[dict[str, Any]]]]:
        """Links of the chain, oldest first, each with those of its records that *wanted* describes; in bounded memory."""
