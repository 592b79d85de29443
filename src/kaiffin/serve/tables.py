"""The tables of what the doors keep: users, keys, sessions, datasets, adapters; and what makes long
lists quick. Torch-free.

Versions of the database (see serve.database); those of a release are never edited.
"""

TABLES = """
    CREATE TABLE users (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        created REAL NOT NULL
    ) STRICT;
    CREATE TABLE keys (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        digest BLOB NOT NULL UNIQUE,
        scopes TEXT NOT NULL,
        quotas TEXT NOT NULL,
        created REAL NOT NULL,
        revoked REAL
    ) STRICT;
    CREATE TABLE sessions (
        digest BLOB PRIMARY KEY,
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        until REAL NOT NULL
    ) STRICT;
    CREATE TABLE drawn (
        owner TEXT NOT NULL,
        day INTEGER NOT NULL,
        pictures INTEGER NOT NULL,
        PRIMARY KEY (owner, day)
    ) STRICT;

    CREATE TABLE datasets (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        subject TEXT NOT NULL DEFAULT '',
        noun TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL
    ) STRICT;
    CREATE INDEX datasets_by_owner ON datasets (owner, number);
    CREATE TABLE photos (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        dataset TEXT NOT NULL,
        name TEXT NOT NULL,
        suffix TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        notes TEXT NOT NULL,
        caption TEXT NOT NULL DEFAULT '',
        crop TEXT,
        left_out INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL,
        UNIQUE (dataset, sha256)
    ) STRICT;
    CREATE INDEX photos_by_dataset ON photos (dataset, number);
    CREATE TABLE adapters (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        facts TEXT NOT NULL,
        created REAL NOT NULL
    ) STRICT;
    CREATE INDEX adapters_by_owner ON adapters (owner, number);
    CREATE TABLE options (
        key TEXT NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (key, name)
    ) STRICT;
"""

# So that no question of a caller's reads a whole table, or all that its owner ever asked for.
INDEXES = """
    CREATE INDEX jobs_of_kind ON jobs (owner, kind, number);
    CREATE INDEX jobs_of_state ON jobs (owner, state, number);
    CREATE INDEX jobs_counted ON jobs (kind, state);
    CREATE INDEX images_liked ON images (owner, number) WHERE vote = 1;
"""

UPLOADS = """
    CREATE TABLE uploads (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        created REAL NOT NULL
    ) STRICT;
    CREATE INDEX uploads_by_owner ON uploads (owner, number);
"""

VOTES = """
    CREATE TABLE votes (
        owner TEXT NOT NULL,
        images TEXT NOT NULL,
        won TEXT NOT NULL,
        created REAL NOT NULL,
        PRIMARY KEY (owner, images)
    ) STRICT;
    CREATE INDEX votes_by_winner ON votes (owner, won);
"""
