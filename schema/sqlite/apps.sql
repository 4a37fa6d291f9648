-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection apps: read/apps-<number>.db.

CREATE TABLE IF NOT EXISTS "apps" (
    "realm" TEXT NOT NULL,
    "folded" TEXT NOT NULL,
    "code" TEXT,
    "code__at" INTEGER NOT NULL DEFAULT 0,
    "settings" TEXT,
    "settings__at" INTEGER NOT NULL DEFAULT 0,
    "registered" INTEGER,
    "registered__at" INTEGER NOT NULL DEFAULT 0,
    "changed" INTEGER,
    "changed__at" INTEGER NOT NULL DEFAULT 0,
    "retired" INTEGER,
    "retired__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "folded")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
