-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection messages: read/messages-<number>.db.

CREATE TABLE IF NOT EXISTS "messages" (
    "realm" TEXT NOT NULL,
    "message" BLOB NOT NULL,
    "tid" TEXT,
    "tid__at" INTEGER NOT NULL DEFAULT 0,
    "thread" BLOB,
    "thread__at" INTEGER NOT NULL DEFAULT 0,
    "sender" TEXT,
    "sender__at" INTEGER NOT NULL DEFAULT 0,
    "subject" TEXT,
    "subject__at" INTEGER NOT NULL DEFAULT 0,
    "text" TEXT,
    "text__at" INTEGER NOT NULL DEFAULT 0,
    "opts" TEXT,
    "opts__at" INTEGER NOT NULL DEFAULT 0,
    "urgency" INTEGER,
    "urgency__at" INTEGER NOT NULL DEFAULT 0,
    "channels" TEXT,
    "channels__at" INTEGER NOT NULL DEFAULT 0,
    "audience" TEXT,
    "audience__at" INTEGER NOT NULL DEFAULT 0,
    "app" TEXT,
    "app__at" INTEGER NOT NULL DEFAULT 0,
    "parent" TEXT,
    "parent__at" INTEGER NOT NULL DEFAULT 0,
    "accepted" INTEGER,
    "accepted__at" INTEGER NOT NULL DEFAULT 0,
    "accepted_at" INTEGER,
    "accepted_at__at" INTEGER NOT NULL DEFAULT 0,
    "scheduled" INTEGER,
    "scheduled__at" INTEGER NOT NULL DEFAULT 0,
    "expires" INTEGER,
    "expires__at" INTEGER NOT NULL DEFAULT 0,
    "due" INTEGER,
    "due__at" INTEGER NOT NULL DEFAULT 0,
    "due_at" INTEGER,
    "due_at__at" INTEGER NOT NULL DEFAULT 0,
    "cancelled" INTEGER,
    "cancelled__at" INTEGER NOT NULL DEFAULT 0,
    "dispatched" INTEGER,
    "dispatched__at" INTEGER NOT NULL DEFAULT 0,
    "contacts" INTEGER,
    "contacts__at" INTEGER NOT NULL DEFAULT 0,
    "sends" INTEGER,
    "sends__at" INTEGER NOT NULL DEFAULT 0,
    "left_out" INTEGER,
    "left_out__at" INTEGER NOT NULL DEFAULT 0,
    "settled" INTEGER,
    "settled__at" INTEGER NOT NULL DEFAULT 0,
    "totals" TEXT,
    "totals__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "message")
) STRICT;

CREATE TABLE IF NOT EXISTS "thread_messages" (
    "realm" TEXT NOT NULL,
    "thread" BLOB NOT NULL,
    "month" TEXT NOT NULL,
    "position" INTEGER NOT NULL,
    "message" BLOB,
    "message__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "thread", "month", "position")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "recent_messages" (
    "realm" TEXT NOT NULL,
    "month" TEXT NOT NULL,
    "position" INTEGER NOT NULL,
    "message" BLOB,
    "message__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "month", "position")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "upcoming_messages" (
    "realm" TEXT NOT NULL,
    "scheduled" INTEGER NOT NULL,
    "message" BLOB NOT NULL,
    "tid" TEXT,
    "tid__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "scheduled", "message")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
