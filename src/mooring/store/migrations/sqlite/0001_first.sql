CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE data_keys (id TEXT PRIMARY KEY, wrapped BLOB NOT NULL, created_at INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE projects (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT, created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE environments (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, name_key TEXT NOT NULL UNIQUE, description TEXT, type TEXT NOT NULL,
    status TEXT NOT NULL, access_url TEXT, epoch TEXT NOT NULL, head_revision INTEGER NOT NULL,
    compact_revision INTEGER NOT NULL, digest BLOB NOT NULL, created_at INTEGER NOT NULL
) WITHOUT ROWID;

-- An environment without rows here is open to every project.
CREATE TABLE environment_projects (
    environment TEXT NOT NULL, project TEXT NOT NULL, PRIMARY KEY (environment, project)
) WITHOUT ROWID;

CREATE TABLE environment_keys (
    environment TEXT PRIMARY KEY, id TEXT NOT NULL, sealed BLOB NOT NULL, key_id TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE connections (
    id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, name TEXT NOT NULL, name_key TEXT NOT NULL, type TEXT NOT NULL,
    enabled INTEGER NOT NULL, deploy INTEGER NOT NULL, generation INTEGER NOT NULL, document TEXT NOT NULL,
    hash BLOB NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    UNIQUE (project, name_key)
);

CREATE TABLE secrets (
    connection TEXT NOT NULL, key TEXT NOT NULL, sealed BLOB NOT NULL, key_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL, updated_at INTEGER NOT NULL, PRIMARY KEY (connection, key)
) WITHOUT ROWID;

-- One row per connection and environment: ten changes while a worker sleeps cost one row.
CREATE TABLE desired (
    environment TEXT NOT NULL, connection TEXT NOT NULL, revision INTEGER NOT NULL, generation INTEGER NOT NULL,
    present INTEGER NOT NULL, hash BLOB NOT NULL, changed_at INTEGER NOT NULL, PRIMARY KEY (environment, connection)
) WITHOUT ROWID;
CREATE UNIQUE INDEX desired_by_revision ON desired (environment, revision);

CREATE TABLE deployments (
    id TEXT PRIMARY KEY, environment TEXT NOT NULL, connection TEXT NOT NULL, generation INTEGER NOT NULL,
    revision INTEGER NOT NULL, request_id TEXT NOT NULL, created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX deployments_by_connection ON deployments (connection, id);

CREATE TABLE workers (
    id TEXT PRIMARY KEY, environment TEXT NOT NULL, name TEXT NOT NULL, public_key BLOB NOT NULL,
    secret_hash BLOB NOT NULL, incarnation TEXT, version TEXT, observed_epoch TEXT,
    observed_revision INTEGER NOT NULL, lease_until INTEGER NOT NULL, created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE enrolments (
    id TEXT PRIMARY KEY, environment TEXT NOT NULL, secret_hash BLOB NOT NULL, expires_at INTEGER NOT NULL,
    used_at INTEGER
) WITHOUT ROWID;

CREATE TABLE tokens (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, owner TEXT NOT NULL, project TEXT, grants TEXT NOT NULL,
    created_at INTEGER NOT NULL, expires_at INTEGER, revoked_at INTEGER, last_used_at INTEGER,
    secret_hash BLOB NOT NULL, parent TEXT
) WITHOUT ROWID;

CREATE TABLE idempotency (
    token TEXT NOT NULL, key TEXT NOT NULL, request_hash BLOB NOT NULL, at INTEGER NOT NULL,
    connection TEXT NOT NULL, generation INTEGER NOT NULL, deployments TEXT NOT NULL, body TEXT,
    PRIMARY KEY (token, key)
) WITHOUT ROWID;

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, token TEXT, request_id TEXT NOT NULL,
    address TEXT NOT NULL, action TEXT NOT NULL, noun TEXT NOT NULL, noun_id TEXT NOT NULL, name TEXT NOT NULL,
    project TEXT, changed TEXT NOT NULL
);
