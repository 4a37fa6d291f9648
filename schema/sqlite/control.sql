-- Generated from the declared tables: `msgxc schema apply`.
-- Which generation is live.

CREATE TABLE IF NOT EXISTS projections (
    projection TEXT PRIMARY KEY,
    live INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS generations (
    projection TEXT NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    created INTEGER NOT NULL,
    tables TEXT NOT NULL,
    PRIMARY KEY (projection, number)
) STRICT, WITHOUT ROWID;
