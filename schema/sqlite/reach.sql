-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection reach: read/reach-<number>.db.

CREATE TABLE IF NOT EXISTS "reach" (
    "realm" TEXT NOT NULL,
    "contact" BLOB NOT NULL,
    "slot" TEXT NOT NULL,
    "uid" TEXT,
    "uid__at" INTEGER NOT NULL DEFAULT 0,
    "channels" TEXT,
    "channels__at" INTEGER NOT NULL DEFAULT 0,
    "erased_at" INTEGER,
    "erased_at__at" INTEGER NOT NULL DEFAULT 0,
    "channel" TEXT,
    "channel__at" INTEGER NOT NULL DEFAULT 0,
    "address" TEXT,
    "address__at" INTEGER NOT NULL DEFAULT 0,
    "token" BLOB,
    "token__at" INTEGER NOT NULL DEFAULT 0,
    "app" TEXT,
    "app__at" INTEGER NOT NULL DEFAULT 0,
    "suppressed" TEXT,
    "suppressed__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "contact", "slot")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "tokens" (
    "realm" TEXT NOT NULL,
    "token" BLOB NOT NULL,
    "client" BLOB NOT NULL,
    "set_at" INTEGER,
    "set_at__at" INTEGER NOT NULL DEFAULT 0,
    "version" INTEGER,
    "version__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "token", "client")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "owners" (
    "realm" TEXT NOT NULL,
    "token" BLOB NOT NULL,
    "client" BLOB,
    "client__at" INTEGER NOT NULL DEFAULT 0,
    "set_at" INTEGER,
    "set_at__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "token")
) STRICT;

CREATE TABLE IF NOT EXISTS "holders" (
    "realm" TEXT NOT NULL,
    "token" BLOB NOT NULL,
    "contact" BLOB NOT NULL,
    "channel" TEXT,
    "channel__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "token", "contact")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
