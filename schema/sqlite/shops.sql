-- Generated from the declared tables: `msgxc schema apply`.
-- One file per generation of the projection shops: read/shops-<number>.db.

CREATE TABLE IF NOT EXISTS "shop_updates" (
    "realm" TEXT NOT NULL,
    "shop" BLOB NOT NULL,
    "day" TEXT NOT NULL,
    "created_us" INTEGER NOT NULL,
    "position" INTEGER NOT NULL,
    "action" TEXT,
    "action__at" INTEGER NOT NULL DEFAULT 0,
    "session" BLOB,
    "session__at" INTEGER NOT NULL DEFAULT 0,
    "product" INTEGER,
    "product__at" INTEGER NOT NULL DEFAULT 0,
    "body" TEXT,
    "body__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "shop", "day", "created_us", "position")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "shop_days" (
    "realm" TEXT NOT NULL,
    "shop" BLOB NOT NULL,
    "day" TEXT NOT NULL,
    "seen" INTEGER,
    "seen__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "shop", "day")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "shop_session_lines" (
    "realm" TEXT NOT NULL,
    "shop" BLOB NOT NULL,
    "session" BLOB NOT NULL,
    "position" INTEGER NOT NULL,
    "created_us" INTEGER,
    "created_us__at" INTEGER NOT NULL DEFAULT 0,
    "shopper" BLOB,
    "shopper__at" INTEGER NOT NULL DEFAULT 0,
    "action" TEXT,
    "action__at" INTEGER NOT NULL DEFAULT 0,
    "product" INTEGER,
    "product__at" INTEGER NOT NULL DEFAULT 0,
    "name" TEXT,
    "name__at" INTEGER NOT NULL DEFAULT 0,
    "upc" TEXT,
    "upc__at" INTEGER NOT NULL DEFAULT 0,
    "price" TEXT,
    "price__at" INTEGER NOT NULL DEFAULT 0,
    "total" TEXT,
    "total__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "shop", "session", "position")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "shop_shoppers" (
    "realm" TEXT NOT NULL,
    "shop" BLOB NOT NULL,
    "shopper" BLOB NOT NULL,
    "session" BLOB,
    "session__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "shop", "shopper")
) STRICT;

CREATE TABLE IF NOT EXISTS "shop_sales" (
    "realm" TEXT NOT NULL,
    "shop" BLOB NOT NULL,
    "day" TEXT NOT NULL,
    "hour" INTEGER NOT NULL,
    "product" INTEGER NOT NULL,
    "position" INTEGER NOT NULL,
    "quantity" INTEGER,
    "quantity__at" INTEGER NOT NULL DEFAULT 0,
    "price" TEXT,
    "price__at" INTEGER NOT NULL DEFAULT 0,
    "name" TEXT,
    "name__at" INTEGER NOT NULL DEFAULT 0,
    "upc" TEXT,
    "upc__at" INTEGER NOT NULL DEFAULT 0,
    row__at INTEGER NOT NULL DEFAULT 0,
    row__gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY ("realm", "shop", "day", "hour", "product", "position")
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
