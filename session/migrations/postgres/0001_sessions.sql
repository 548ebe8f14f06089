-- The table of `PostgresDriver`, which `open` makes where it is missing. Running this file again changes nothing.
-- Under another name (`with_table`) it is the same, with that name in place of `sessions` throughout.
-- The driver needs SELECT, INSERT, UPDATE and DELETE on "sessions", and SELECT on "sessions_schema".

CREATE TABLE IF NOT EXISTS "sessions" (
    session_key TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- compared byte by byte
    payload BYTEA NOT NULL,
    expires_at BIGINT NOT NULL,                        -- milliseconds since 1970, UTC
    owner BYTEA,                                       -- UTF-8, compared byte by byte; text would refuse a NUL
    version BIGINT NOT NULL                            -- a new random number with every write
);

CREATE INDEX IF NOT EXISTS "sessions_expires_idx" ON "sessions" (expires_at);

-- By hash, because an owner may be longer than what the usual index takes.
CREATE INDEX IF NOT EXISTS "sessions_owner_idx" ON "sessions" USING hash (owner);

-- Which of these files have been run. The driver refuses a table that has seen one that it does not know.
CREATE TABLE IF NOT EXISTS "sessions_schema" (version BIGINT NOT NULL PRIMARY KEY);

INSERT INTO "sessions_schema" (version) VALUES (1) ON CONFLICT DO NOTHING;
