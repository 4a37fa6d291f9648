-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection clients: read/clients-<number>.db.

CREATE TABLE IF NOT EXISTS "clients" (
    "realm" TEXT NOT NULL,
    "client" BLOB NOT NULL,
    "app" TEXT,
    "app__at" INTEGER NOT NULL DEFAULT 0,
    "client_id" TEXT,
    "client_id__at" INTEGER NOT NULL DEFAULT 0,
    "contact" BLOB,
    "contact__at" INTEGER NOT NULL DEFAULT 0,
    "uid" TEXT,
    "uid__at" INTEGER NOT NULL DEFAULT 0,
    "channel" TEXT,
    "channel__at" INTEGER NOT NULL DEFAULT 0,
    "token" BLOB,
    "token__at" INTEGER NOT NULL DEFAULT 0,
    "quarantined" TEXT,
    "quarantined__at" INTEGER NOT NULL DEFAULT 0,
    "retired" TEXT,
    "retired__at" INTEGER NOT NULL DEFAULT 0,
    "properties" TEXT,
    "properties__at" INTEGER NOT NULL DEFAULT 0,
    "registered" INTEGER,
    "registered__at" INTEGER NOT NULL DEFAULT 0,
    "updated" INTEGER,
    "updated__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "client")
) STRICT;

CREATE TABLE IF NOT EXISTS "contact_clients" (
    "realm" TEXT NOT NULL,
    "contact" BLOB NOT NULL,
    "client" BLOB NOT NULL,
    "linked" INTEGER,
    "linked__at" INTEGER NOT NULL DEFAULT 0,
    "since" INTEGER,
    "since__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "contact", "client")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
