-- Sign-ins of devices without a browser (RFC 8628), for minutes. Of neither code anything is kept that leads back to it.
CREATE TABLE device_codes (
    -- SHA-256 of what the device asks again with.
    device {blob} NOT NULL PRIMARY KEY,
    -- The code that a person types, under a key that is not in the database: it is too short for a plain hash.
    code {blob} NOT NULL UNIQUE,
    -- What the device says of itself, and where it asked from.
    client TEXT NOT NULL,
    agent TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    interval_s BIGINT NOT NULL,
    polled_at BIGINT,
    -- pending, approved, denied or used
    state TEXT NOT NULL,
    -- What was approved: for which account, with which rights, until when, and by which token; none for the operator.
    account TEXT,
    rights TEXT,
    token_ends_at BIGINT,
    approver TEXT
);
CREATE INDEX device_codes_by_end ON device_codes (expires_at);

-- Codes that an account typed and that nobody has: guessing ends soon.
CREATE TABLE device_misses (
    account TEXT NOT NULL PRIMARY KEY,
    misses BIGINT NOT NULL,
    since BIGINT NOT NULL
);

-- What happened to repositories and was not handed on to webhooks yet, written with the change itself.
CREATE TABLE repo_events (
    id TEXT NOT NULL PRIMARY KEY,
    repo TEXT NOT NULL,
    -- The repository as it was, as far as who may see it follows from that.
    kept TEXT NOT NULL,
    event TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX repo_events_by_time ON repo_events (created_at);
