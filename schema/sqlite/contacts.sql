-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection contacts: read/contacts-<number>.db.

CREATE TABLE IF NOT EXISTS "contacts" (
    "realm" TEXT NOT NULL,
    "bucket" TEXT NOT NULL,
    "contact" BLOB NOT NULL,
    "uid" TEXT,
    "uid__at" INTEGER NOT NULL DEFAULT 0,
    "created_at" INTEGER,
    "created_at__at" INTEGER NOT NULL DEFAULT 0,
    "created" INTEGER,
    "created__at" INTEGER NOT NULL DEFAULT 0,
    "email" TEXT,
    "email__at" INTEGER NOT NULL DEFAULT 0,
    "cell" TEXT,
    "cell__at" INTEGER NOT NULL DEFAULT 0,
    "locale" TEXT,
    "locale__at" INTEGER NOT NULL DEFAULT 0,
    "time_zone" TEXT,
    "time_zone__at" INTEGER NOT NULL DEFAULT 0,
    "channels" TEXT,
    "channels__at" INTEGER NOT NULL DEFAULT 0,
    "updated" INTEGER,
    "updated__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "bucket", "contact")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
