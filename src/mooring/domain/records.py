"""The nouns as they are kept. Instants are milliseconds since 1970, UTC; ids are made by `mooring.kit.ids`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mooring.domain.rights import OnConnection, Rights, covers
from mooring.kit.record import record


@record
class Project:
    """The space in which connection names are unique and permissions are given."""

    id: str
    name: str
    description: str | None
    created_at: int


@record
class Environment:
    """
    A named place to run, such as production; has workers.

    `head_revision` counts every change of its desired state, without gaps. `digest` is the sum of
    SHA-256(id, generation, hash) over the connections that should be present, modulo 2^256. `epoch` is random
    per lineage of the database. `projects` are the projects bound to it; empty means every project may use it.
    """

    id: str
    name: str
    description: str | None
    type: str
    status: str
    access_url: str | None
    epoch: str
    head_revision: int
    compact_revision: int
    digest: bytes
    created_at: int
    projects: tuple[str, ...] = ()


@record
class Reference:
    """A field of a connection that names a material: *noun* is what is looked for first, keystore or certificate; or variable."""

    field: str
    noun: str
    name: str


@record
class Connection:
    """
    A named, typed, reusable configuration for one external system.

    `document` is the JSON that reads answer: the public half with holes where secrets were. `hash` covers what
    workers are sent: the public half and the ids of the sealed secrets, never a secret. `references` are the
    materials that it uses.
    """

    id: str
    project: str
    name: str
    name_key: str
    type: str
    enabled: bool
    deploy: bool
    generation: int
    document: str
    hash: bytes
    created_at: int
    updated_at: int
    references: tuple[Reference, ...] = ()


@record
class Material:
    """
    A keystore, a truststore, a certificate, or a variable, as `noun` says: keystore is both of the first two.

    It has something for each of some environments; see `MaterialContent`.
    """

    id: str
    project: str
    noun: str
    name: str
    name_key: str
    description: str | None
    generation: int
    created_at: int
    updated_at: int


@record
class MaterialContent:
    """
    What a material has for one environment. `entries` is JSON that may be shown: names, dates, thumbprints.

    `hash` is that of the sealed content: it says that something changed, and nothing of what it is.
    """

    environment: str
    type: str
    alias: str | None
    entries: str
    hash: bytes


@record
class MaterialSecret:
    """One sealed part of a material in one environment: `opened`, `file` or `password`; of a variable its `value`."""

    environment: str
    key: str
    sealed: bytes
    key_id: str


@record
class FoundMaterial:
    """What stands behind a reference in one environment; `hash` is None where the material has nothing there."""

    material: str
    noun: str
    name: str
    hash: bytes | None
    entries: str | None


@record
class FoundVariable:
    """
    The value of a variable that a reference finds in one environment, sealed.

    `environment` is empty where the value is the global one. `entries` says whether it may be shown.
    """

    material: str
    name: str
    environment: str
    hash: bytes
    entries: str
    sealed: bytes
    key_id: str


@record
class DataKey:
    """
    A key that seals, wrapped by the master key; a retired one only opens what it sealed.

    One of them is the root, which seals nothing: what is hashed with a key hangs on it.
    """

    id: str
    wrapped: bytes
    created_at: int
    retired_at: int | None = None
    is_root: bool = False


@record
class SealedSecret:
    """One secret of a connection as it is stored. `key` says where it stands in the config."""

    key: str
    sealed: bytes
    key_id: str
    fingerprint: str
    updated_at: int


@record
class Token:
    """
    A personal API access token.

    `project` is None where it is good for every project it is granted on. `parent` is the token that a short-lived
    one was exchanged for, or the user who logged in for it; it ends with it. `user` is the id of the user who owns it;
    None where that is nobody, as with the administrator's token of the first start.
    """

    id: str
    name: str
    owner: str
    project: str | None
    grants: frozenset[str]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    secret_hash: bytes
    parent: str | None = None
    user: str | None = None


@record
class Worker:
    """
    The process that holds live connectors in one environment, as last heard of.

    `lease_until` is in the clock of the store; a worker whose lease has passed is offline.
    """

    id: str
    environment: str
    name: str
    public_key: bytes
    secret_hash: bytes
    incarnation: str | None
    version: str | None
    observed_epoch: str | None
    observed_revision: int
    lease_until: int
    created_at: int


@record
class WorkerException:
    """One connection that is not well on one worker. `state` is pending, failed or held (the old one serves on)."""

    connection: str
    generation: int
    serving_generation: int | None
    state: str
    reason: str
    message: str
    since: int


@record
class Deployment:
    """One change of one connection on its way to the workers of one environment."""

    id: str
    environment: str
    connection: str
    generation: int
    revision: int
    request_id: str
    created_at: int


@record
class DesiredRow:
    """What an environment's workers should hold of one connection; absent rows tell them to let go."""

    connection: str
    revision: int
    generation: int
    present: bool
    hash: bytes


@record
class Actor:
    """
    Who asks, for permissions and for the audit.

    `grants` are those that the token carries, in its project or, where that is None, everywhere; `shared` those that
    it has on single connections. `owner` is what the user whose token it is may now; None where no user owns it, and
    the token alone counts.
    """

    name: str
    token: str | None
    project: str | None
    grants: frozenset[str]
    request_id: str = ""
    address: str = ""
    user: str | None = None
    owner: Rights | None = None
    shared: Mapping[str, OnConnection] = field(default_factory=dict)

    def may(self, grant: str, project_id: str | None = None, connection_id: str | None = None) -> bool:
        """Whether the actor holds *grant*: on that connection, in that project, or, without one, everywhere."""
        if not (covers(self.grants, grant) and (self.project is None or self.project == project_id)):
            own = self.shared.get(connection_id) if connection_id is not None else None
            if own is None or grant not in own.grants:
                return False
        return self.owner is None or self.owner.may(grant, project_id, connection_id)

    def may_on_some(self, grant: str, project_id: str) -> bool:
        """Whether the actor holds *grant* in that project, or on a connection of it."""
        return self.may(grant, project_id) or any(True for _ in self.connections_with(grant, project_id))

    def connections_with(self, grant: str, project_id: str) -> list[str]:
        """The ids of the connections of a project on which *grant* was given to the actor singly."""
        given = self.shared if self.owner is None else {**self.owner.connections, **self.shared}
        return sorted(
            each for each, on in given.items() if on.project == project_id and self.may(grant, project_id, each)
        )

    def may_somewhere(self, grant: str) -> bool:
        """Whether there is any place where the actor holds *grant*, as far as can be told without looking at each."""
        own = covers(self.grants, grant) or any(grant in on.grants for on in self.shared.values())
        return own and (self.owner is None or self.owner.may_somewhere(grant))

    def carries(self, grant: str) -> bool:
        """Whether the actor's token carries *grant*, whatever its owner may."""
        return covers(self.grants, grant)

    def sees(self, project_id: str) -> bool:
        """Whether the project exists for this actor."""
        return (self.project is None or self.project == project_id) and (
            self.owner is None or self.owner.sees(project_id)
        )


@record
class AuditEntry:
    """
    Who did what to which noun, when.

    `changed` names the fields. `changes` is JSON: field to its old and its new value, a keyed fingerprint where it is
    a secret; None where nothing was there before.
    """

    at: int
    actor: str
    token: str | None
    request_id: str
    address: str
    action: str
    noun: str
    noun_id: str
    name: str
    project: str | None = None
    changed: tuple[str, ...] = field(default=())
    changes: str | None = None


@record
class AuditFilter:
    """Which entries are wanted; None is no condition. `since` and `until` (excluded) are instants."""

    project: str | None = None
    actor: str | None = None
    action: str | None = None
    noun: str | None = None
    noun_id: str | None = None
    name: str | None = None
    request_id: str | None = None
    since: int | None = None
    until: int | None = None


@record
class User:
    """Somebody who logs in by name and password. Two spellings of a name are one user."""

    id: str
    name: str
    name_key: str
    description: str | None
    password_hash: str
    disabled: bool
    created_at: int
    updated_at: int


@record
class Membership:
    """The roles of a user in a project; in every one, where `project` is None."""

    project: str | None
    roles: frozenset[str]


@record
class Share:
    """Grants on one connection. `kind` says what `subject` is the id of: user or token."""

    connection: str
    kind: str
    subject: str
    grants: frozenset[str]


@record
class Standing:
    """What counts beside a token's own grants: what its owner may now, and what it has on single connections."""

    owner: Rights | None
    shared: Mapping[str, OnConnection]
