-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection app_clients: read/app_clients-<number>.db.

CREATE TABLE IF NOT EXISTS "app_clients" (
    "realm" TEXT NOT NULL,
    "app" TEXT NOT NULL,
    "bucket" TEXT NOT NULL,
    "contact" BLOB NOT NULL,
    "client" BLOB NOT NULL,
    "position" INTEGER NOT NULL,
    "there" INTEGER,
    "there__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "app", "bucket", "contact", "client", "position")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
