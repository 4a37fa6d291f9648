-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection deliveries: read/deliveries-<number>.db.

CREATE TABLE IF NOT EXISTS "deliveries" (
    "realm" TEXT NOT NULL,
    "message" BLOB NOT NULL,
    "bucket" INTEGER NOT NULL,
    "contact" BLOB NOT NULL,
    "channel" TEXT NOT NULL,
    "client" TEXT NOT NULL,
    "unsubscribed" INTEGER,
    "unsubscribed__at" INTEGER NOT NULL DEFAULT 0,
    "clicked" INTEGER,
    "clicked__at" INTEGER NOT NULL DEFAULT 0,
    "read" INTEGER,
    "read__at" INTEGER NOT NULL DEFAULT 0,
    "delivered" INTEGER,
    "delivered__at" INTEGER NOT NULL DEFAULT 0,
    "bounced" INTEGER,
    "bounced__at" INTEGER NOT NULL DEFAULT 0,
    "accepted" INTEGER,
    "accepted__at" INTEGER NOT NULL DEFAULT 0,
    "gone" INTEGER,
    "gone__at" INTEGER NOT NULL DEFAULT 0,
    "rejected" INTEGER,
    "rejected__at" INTEGER NOT NULL DEFAULT 0,
    "suppressed" INTEGER,
    "suppressed__at" INTEGER NOT NULL DEFAULT 0,
    "expired" INTEGER,
    "expired__at" INTEGER NOT NULL DEFAULT 0,
    "unknown" INTEGER,
    "unknown__at" INTEGER NOT NULL DEFAULT 0,
    "retrying" INTEGER,
    "retrying__at" INTEGER NOT NULL DEFAULT 0,
    "attempted" INTEGER,
    "attempted__at" INTEGER NOT NULL DEFAULT 0,
    "planned" INTEGER,
    "planned__at" INTEGER NOT NULL DEFAULT 0,
    "dispatch" TEXT,
    "dispatch__at" INTEGER NOT NULL DEFAULT 0,
    "provider_id" TEXT,
    "provider_id__at" INTEGER NOT NULL DEFAULT 0,
    "code" TEXT,
    "code__at" INTEGER NOT NULL DEFAULT 0,
    "detail" TEXT,
    "detail__at" INTEGER NOT NULL DEFAULT 0,
    "repeated" INTEGER,
    "repeated__at" INTEGER NOT NULL DEFAULT 0,
    "updated_at" INTEGER,
    "updated_at__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "message", "bucket", "contact", "channel", "client")
) STRICT;

CREATE TABLE IF NOT EXISTS "delivery_totals" (
    "realm" TEXT NOT NULL,
    "message" BLOB NOT NULL,
    "part" TEXT NOT NULL,
    "counts" TEXT,
    "counts__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "message", "part")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "delivery_attempts" (
    "realm" TEXT NOT NULL,
    "message" BLOB NOT NULL,
    "channel" TEXT NOT NULL,
    "dispatch" TEXT NOT NULL,
    "first" INTEGER NOT NULL,
    "last" INTEGER,
    "last__at" INTEGER NOT NULL DEFAULT 0,
    "started" INTEGER,
    "started__at" INTEGER NOT NULL DEFAULT 0,
    "ended" INTEGER,
    "ended__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "message", "channel", "dispatch", "first")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "delivery_places" (
    "realm" TEXT NOT NULL,
    "message" BLOB NOT NULL,
    "channel" TEXT NOT NULL,
    "dispatch" TEXT NOT NULL,
    "who" TEXT,
    "who__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "message", "channel", "dispatch")
) STRICT;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
