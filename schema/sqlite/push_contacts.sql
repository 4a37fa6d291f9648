-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection push_contacts: read/push_contacts-<number>.db.

CREATE TABLE IF NOT EXISTS "push_contacts" (
    "realm" TEXT NOT NULL,
    "domain" TEXT NOT NULL,
    "bucket" TEXT NOT NULL,
    "client" BLOB NOT NULL,
    "device_token" TEXT,
    "device_token__at" INTEGER NOT NULL DEFAULT 0,
    "email" TEXT,
    "email__at" INTEGER NOT NULL DEFAULT 0,
    "visitor" TEXT,
    "visitor__at" INTEGER NOT NULL DEFAULT 0,
    "introduced" INTEGER,
    "introduced__at" INTEGER NOT NULL DEFAULT 0,
    "alive" INTEGER,
    "alive__at" INTEGER NOT NULL DEFAULT 0,
    "modified" INTEGER,
    "modified__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "domain", "bucket", "client")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "push_visitors" (
    "realm" TEXT NOT NULL,
    "domain" TEXT NOT NULL,
    "bucket" TEXT NOT NULL,
    "visitor" TEXT NOT NULL,
    "client" BLOB NOT NULL,
    "since" INTEGER,
    "since__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "domain", "bucket", "visitor", "client")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "push_mailboxes" (
    "realm" TEXT NOT NULL,
    "domain" TEXT NOT NULL,
    "mailbox" TEXT NOT NULL,
    "client" BLOB NOT NULL,
    "since" INTEGER,
    "since__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "domain", "mailbox", "client")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "push_domains" (
    "realm" TEXT NOT NULL,
    "domain" TEXT NOT NULL,
    "seen" INTEGER,
    "seen__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "domain")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
