-- A retired key seals nothing new; it is destroyed when nothing is left under it. One row is the root: what is hashed hangs on it.
ALTER TABLE data_keys ADD COLUMN retired_at INTEGER;
ALTER TABLE data_keys ADD COLUMN is_root INTEGER NOT NULL DEFAULT 0;
-- Whoever managed tokens everywhere until now could do everything that there was.
UPDATE tokens SET grants = grants || ' seal:manage' WHERE project IS NULL AND grants LIKE '%tokens:manage%';
