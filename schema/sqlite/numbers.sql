-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection numbers: read/numbers-<number>.db.

CREATE TABLE IF NOT EXISTS "contact_numbers" (
    "realm" TEXT NOT NULL,
    "bucket" TEXT NOT NULL,
    "contact" BLOB NOT NULL,
    "asked" INTEGER,
    "asked__at" INTEGER NOT NULL DEFAULT 0,
    "asked_at" INTEGER,
    "asked_at__at" INTEGER NOT NULL DEFAULT 0,
    "answered" INTEGER,
    "answered__at" INTEGER NOT NULL DEFAULT 0,
    "contact_id" INTEGER,
    "contact_id__at" INTEGER NOT NULL DEFAULT 0,
    "erased" INTEGER,
    "erased__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "bucket", "contact")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "client_numbers" (
    "realm" TEXT NOT NULL,
    "bucket" TEXT NOT NULL,
    "client" BLOB NOT NULL,
    "contact" BLOB,
    "contact__at" INTEGER NOT NULL DEFAULT 0,
    "linked_at" INTEGER,
    "linked_at__at" INTEGER NOT NULL DEFAULT 0,
    "answered" INTEGER,
    "answered__at" INTEGER NOT NULL DEFAULT 0,
    "contact_id" INTEGER,
    "contact_id__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "bucket", "client")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
