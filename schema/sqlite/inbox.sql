-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection inbox: read/inbox-<number>.db.

CREATE TABLE IF NOT EXISTS "inbox" (
    "realm" TEXT NOT NULL,
    "contact" BLOB NOT NULL,
    "position" INTEGER NOT NULL,
    "message" BLOB,
    "message__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "contact", "position")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "inbox_tags" (
    "realm" TEXT NOT NULL,
    "contact" BLOB NOT NULL,
    "message" BLOB NOT NULL,
    "tag" TEXT NOT NULL,
    "has" INTEGER,
    "has__at" INTEGER NOT NULL DEFAULT 0,
    "said" INTEGER,
    "said__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "contact", "message", "tag")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
