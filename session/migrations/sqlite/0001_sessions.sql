-- The table of `SqliteDriver`, which `open` makes where it is missing. Running this file again changes nothing.
-- Under another name (`with_table`) it is the same, with that name in place of `sessions` throughout.

CREATE TABLE IF NOT EXISTS "sessions" (
    session_key TEXT NOT NULL PRIMARY KEY, -- compared byte by byte
    payload BLOB NOT NULL,
    expires_at INTEGER NOT NULL,           -- milliseconds since 1970, UTC
    owner BLOB,                            -- UTF-8, compared byte by byte
    version INTEGER NOT NULL               -- a new random number with every write
);

CREATE INDEX IF NOT EXISTS "sessions_expires_idx" ON "sessions" (expires_at);

CREATE INDEX IF NOT EXISTS "sessions_owner_idx" ON "sessions" (owner) WHERE owner IS NOT NULL;

-- Which of these files have been run. The driver refuses a table that has seen one that it does not know.
CREATE TABLE IF NOT EXISTS "sessions_schema" (version INTEGER NOT NULL PRIMARY KEY);

INSERT INTO "sessions_schema" (version) VALUES (1) ON CONFLICT DO NOTHING;
