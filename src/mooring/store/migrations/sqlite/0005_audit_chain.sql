-- What an entry says that a change did, as JSON: field to its old and new value.
ALTER TABLE audit ADD COLUMN changes TEXT;

-- One link for each commit batch: see mooring.store.audit_chain.
CREATE TABLE audit_links (
    last INTEGER PRIMARY KEY, first INTEGER NOT NULL, at INTEGER NOT NULL, tags BLOB NOT NULL, mac BLOB NOT NULL
);

-- As every later one is written: without blanks.
UPDATE audit SET changed = json(changed);
