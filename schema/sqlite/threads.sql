-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection threads: read/threads-<number>.db.

CREATE TABLE IF NOT EXISTS "threads" (
    "realm" TEXT NOT NULL,
    "bucket" TEXT NOT NULL,
    "thread" BLOB NOT NULL,
    "tid" TEXT,
    "tid__at" INTEGER NOT NULL DEFAULT 0,
    "settings" TEXT,
    "settings__at" INTEGER NOT NULL DEFAULT 0,
    "opened" INTEGER,
    "opened__at" INTEGER NOT NULL DEFAULT 0,
    "changed" INTEGER,
    "changed__at" INTEGER NOT NULL DEFAULT 0,
    "closed" INTEGER,
    "closed__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "bucket", "thread")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "members" (
    "realm" TEXT NOT NULL,
    "thread" BLOB NOT NULL,
    "bucket" INTEGER NOT NULL,
    "contact" BLOB NOT NULL,
    "number" INTEGER NOT NULL,
    "uid" TEXT,
    "uid__at" INTEGER NOT NULL DEFAULT 0,
    "from_at" INTEGER,
    "from_at__at" INTEGER NOT NULL DEFAULT 0,
    "until_at" INTEGER,
    "until_at__at" INTEGER NOT NULL DEFAULT 0,
    "granted_at" INTEGER,
    "granted_at__at" INTEGER NOT NULL DEFAULT 0,
    "channels" TEXT,
    "channels__at" INTEGER NOT NULL DEFAULT 0,
    "since" INTEGER,
    "since__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "thread", "bucket", "contact", "number")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "contact_threads" (
    "realm" TEXT NOT NULL,
    "contact" BLOB NOT NULL,
    "thread" BLOB NOT NULL,
    "tid" TEXT,
    "tid__at" INTEGER NOT NULL DEFAULT 0,
    "uid" TEXT,
    "uid__at" INTEGER NOT NULL DEFAULT 0,
    "active" INTEGER,
    "active__at" INTEGER NOT NULL DEFAULT 0,
    "granted" INTEGER,
    "granted__at" INTEGER NOT NULL DEFAULT 0,
    "channels" TEXT,
    "channels__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "contact", "thread")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "doors" (
    "realm" TEXT NOT NULL,
    "thread" BLOB NOT NULL,
    "from_at" INTEGER NOT NULL,
    "open" INTEGER,
    "open__at" INTEGER NOT NULL DEFAULT 0,
    "uids" TEXT,
    "uids__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "thread", "from_at")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
