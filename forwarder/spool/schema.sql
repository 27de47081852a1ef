-- The spool's tables, version 1 (PRAGMA user_version). Times are epoch seconds.

-- One row a notification and detail-type, inserted once for all the integrations it is for.
CREATE TABLE log (
    seq         INTEGER PRIMARY KEY,
    lanes       INTEGER NOT NULL,           -- bit set: the lanes this row is for
    received_at REAL    NOT NULL,
    time        INTEGER NOT NULL,           -- the event's own time
    id          TEXT    NOT NULL,
    topic       TEXT    NOT NULL,
    detail_type TEXT    NOT NULL,
    detail      BLOB    NOT NULL
) STRICT;

-- How far each integration has come. All up to `position` is finished, and so are the `done` runs beyond it.
CREATE TABLE lanes (
    integration_id TEXT    PRIMARY KEY,
    bit            INTEGER NOT NULL UNIQUE, -- 0 .. 61, its place in log.lanes
    position       INTEGER NOT NULL,
    done           BLOB    NOT NULL         -- JSON: [[first seq, last seq], ...]
) STRICT;

-- After rows were lost to damage: once a lane's position is at `seq`, what its books miss is what was lost.
CREATE TABLE balances (
    integration_id TEXT    PRIMARY KEY,
    seq            INTEGER NOT NULL
) STRICT;

-- Entries that failed alone. They carry their own copy: the log moves on without them.
CREATE TABLE parked (
    integration_id TEXT    NOT NULL,
    seq            INTEGER NOT NULL,
    attempts       INTEGER NOT NULL,
    retry_at       REAL    NOT NULL,
    reason         TEXT    NOT NULL,
    code           TEXT    NOT NULL,
    received_at    REAL    NOT NULL,
    time           INTEGER NOT NULL,
    id             TEXT    NOT NULL,
    topic          TEXT    NOT NULL,
    detail_type    TEXT    NOT NULL,
    detail         BLOB    NOT NULL,
    PRIMARY KEY (integration_id, seq)
) STRICT;
CREATE INDEX parked_by_retry ON parked (integration_id, retry_at);
CREATE INDEX parked_by_receipt ON parked (received_at);

CREATE TABLE dead_letters (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    integration_id TEXT    NOT NULL,
    seq            INTEGER NOT NULL,
    attempts       INTEGER NOT NULL,
    dead_at        REAL    NOT NULL,
    reason         TEXT    NOT NULL,
    code           TEXT    NOT NULL,
    message        TEXT    NOT NULL,
    received_at    REAL    NOT NULL,
    time           INTEGER NOT NULL,
    id             TEXT    NOT NULL,
    topic          TEXT    NOT NULL,
    detail_type    TEXT    NOT NULL,
    detail         BLOB    NOT NULL
) STRICT;
CREATE INDEX dead_letters_by_integration ON dead_letters (integration_id, number);

-- The books: every counter that survives a restart. `subject` is an intake or an integration.
CREATE TABLE counters (
    name    TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    value   INTEGER NOT NULL,
    PRIMARY KEY (name, subject, reason)
) STRICT, WITHOUT ROWID;
