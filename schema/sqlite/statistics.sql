-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection statistics: read/statistics-<number>.db.

CREATE TABLE IF NOT EXISTS "message_hours" (
    "realm" TEXT NOT NULL,
    "message" BLOB NOT NULL,
    "hour" INTEGER NOT NULL,
    "position" INTEGER NOT NULL,
    "counts" TEXT,
    "counts__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "message", "hour", "position")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "message_children" (
    "realm" TEXT NOT NULL,
    "campaign" BLOB NOT NULL,
    "message" BLOB NOT NULL,
    "accepted" INTEGER,
    "accepted__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "campaign", "message")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "domain_messages" (
    "realm" TEXT NOT NULL,
    "domain" TEXT NOT NULL,
    "month" TEXT NOT NULL,
    "accepted" INTEGER NOT NULL,
    "message" BLOB NOT NULL,
    "name" TEXT,
    "name__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "domain", "month", "accepted", "message")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
