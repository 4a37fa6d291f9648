-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection devices: read/devices-<number>.db.

CREATE TABLE IF NOT EXISTS "devices" (
    "realm" TEXT NOT NULL,
    "client" BLOB NOT NULL,
    "app" TEXT,
    "app__at" INTEGER NOT NULL DEFAULT 0,
    "state" TEXT,
    "state__at" INTEGER NOT NULL DEFAULT 0,
    "state_at" INTEGER,
    "state_at__at" INTEGER NOT NULL DEFAULT 0,
    "session" TEXT,
    "session__at" INTEGER NOT NULL DEFAULT 0,
    "session_started" INTEGER,
    "session_started__at" INTEGER NOT NULL DEFAULT 0,
    "session_ended" INTEGER,
    "session_ended__at" INTEGER NOT NULL DEFAULT 0,
    "session_ms" INTEGER,
    "session_ms__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "client")
) STRICT;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
