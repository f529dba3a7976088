-- Keystores and certificates: what may be shown of them is plain, what they hold is sealed.
CREATE TABLE materials (
    id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, noun TEXT NOT NULL, name TEXT NOT NULL, name_key TEXT NOT NULL,
    description TEXT, generation INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    UNIQUE (project, noun, name_key)
);
CREATE INDEX materials_by_name ON materials (name_key);

-- One row for each environment that a material has something for. The hash is that of the sealed content.
CREATE TABLE material_contents (
    material TEXT NOT NULL, environment TEXT NOT NULL, type TEXT NOT NULL, alias TEXT, alias_key TEXT,
    entries TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (material, environment)
);

-- The content as workers use it, the file and its password as they were sent.
CREATE TABLE material_secrets (
    material TEXT NOT NULL, environment TEXT NOT NULL, key TEXT NOT NULL, sealed BLOB NOT NULL, key_id TEXT NOT NULL,
    PRIMARY KEY (material, environment, key)
);

-- What a connection uses: JSON for reading it with the connection, rows for finding the users of a name.
ALTER TABLE connections ADD COLUMN refers TEXT;
CREATE TABLE connection_references (
    connection TEXT NOT NULL, name_key TEXT NOT NULL, PRIMARY KEY (connection, name_key)
) WITHOUT ROWID;
CREATE INDEX connection_references_by_name ON connection_references (name_key);
