-- The table of `MySqlDriver`, which `open` makes where it is missing. Running this file again changes nothing.
-- Under another name (`with_table`) it is the same, with that name in place of `sessions` throughout.
-- The driver needs SELECT, INSERT, UPDATE and DELETE on `sessions`, and SELECT on `sessions_schema`.

CREATE TABLE IF NOT EXISTS `sessions` (
    session_key VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- compared byte by byte
    payload LONGBLOB NOT NULL,
    expires_at BIGINT NOT NULL,                                             -- milliseconds since 1970, UTC
    owner LONGBLOB,                                                         -- UTF-8; text would be compared without trailing spaces
    version BIGINT NOT NULL,                                                -- a new random number with every write
    PRIMARY KEY (session_key),
    KEY expires_at (expires_at),
    KEY owner (owner(128))
) ENGINE = InnoDB;

-- Which of these files have been run. The driver refuses a table that has seen one that it does not know.
CREATE TABLE IF NOT EXISTS `sessions_schema` (version BIGINT NOT NULL PRIMARY KEY) ENGINE = InnoDB;

INSERT IGNORE INTO `sessions_schema` (version) VALUES (1);
