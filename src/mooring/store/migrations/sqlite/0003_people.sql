-- Users, their roles in projects, and grants on single connections.
CREATE TABLE users (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, name_key TEXT NOT NULL UNIQUE, description TEXT,
    password_hash TEXT NOT NULL, disabled INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
) WITHOUT ROWID;

-- An empty project means every project.
CREATE TABLE memberships (
    user_id TEXT NOT NULL, project TEXT NOT NULL, roles TEXT NOT NULL, PRIMARY KEY (user_id, project)
) WITHOUT ROWID;

CREATE TABLE shares (
    kind TEXT NOT NULL, subject TEXT NOT NULL, connection TEXT NOT NULL, grants TEXT NOT NULL,
    PRIMARY KEY (kind, subject, connection)
) WITHOUT ROWID;
CREATE INDEX shares_by_connection ON shares (connection);

-- The user whose token it is: never found by name, which somebody else may bear later.
ALTER TABLE tokens ADD COLUMN user_id TEXT;
CREATE INDEX tokens_by_user ON tokens (user_id);

-- Tokens of administrators from before go on holding every grant; those that managed tokens read the audit.
UPDATE tokens SET grants = grants || ' audit:view connections:globalize linux-script:use users:manage'
    WHERE project IS NULL AND grants LIKE '%connections:manage%' AND grants LIKE '%projects:manage%'
    AND grants LIKE '%tokens:manage%' AND grants LIKE '%workers:manage%' AND grants LIKE '%environments:manage%';
UPDATE tokens SET grants = grants || ' audit:view'
    WHERE project IS NULL AND grants LIKE '%tokens:manage%' AND grants NOT LIKE '%audit:view%';
UPDATE tokens SET grants = grants || ' certificates:manage' WHERE grants LIKE '%connections:manage%';
UPDATE tokens SET grants = grants || ' certificates:view' WHERE grants LIKE '%connections:view%';
