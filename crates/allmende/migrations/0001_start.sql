-- The hub's own tables. {blob} is BLOB on SQLite and BYTEA on PostgreSQL: the only difference between the two.
-- Times are milliseconds since 1970 unless the name says otherwise. No statement uses the database's clock.

CREATE TABLE log_entries (
    log TEXT NOT NULL,
    idx BIGINT NOT NULL,
    leaf {blob} NOT NULL,
    leaf_hash {blob} NOT NULL,
    payload_digest TEXT NOT NULL,
    kind TEXT NOT NULL,
    signer TEXT NOT NULL,
    arrived_at BIGINT NOT NULL,
    PRIMARY KEY (log, idx),
    UNIQUE (log, payload_digest)
);

CREATE TABLE log_heads (
    log TEXT NOT NULL PRIMARY KEY,
    origin TEXT NOT NULL UNIQUE,
    size BIGINT NOT NULL,
    root {blob} NOT NULL,
    frontier {blob} NOT NULL,
    checkpoint TEXT NOT NULL,
    arrived_at BIGINT NOT NULL
);

CREATE TABLE cosignatures (
    log TEXT NOT NULL,
    key TEXT NOT NULL,
    size BIGINT NOT NULL,
    timestamp_s BIGINT NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (log, key)
);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    party TEXT NOT NULL,
    scope TEXT NOT NULL,
    hash {blob} NOT NULL UNIQUE,
    label TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    last_used_at BIGINT
);
CREATE INDEX tokens_by_party ON tokens (party, created_at);

CREATE TABLE nonces (
    nonce TEXT NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX nonces_by_expiry ON nonces (expires_at);

CREATE TABLE idempotency (
    party TEXT NOT NULL,
    key TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    status BIGINT NOT NULL,
    body {blob} NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (party, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE uploads (
    id TEXT NOT NULL PRIMARY KEY,
    log TEXT NOT NULL,
    run TEXT NOT NULL,
    coalition BIGINT NOT NULL,
    round BIGINT NOT NULL,
    slot BIGINT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    weight BIGINT NOT NULL,
    offer TEXT NOT NULL,
    statement TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX uploads_by_round ON uploads (log, run, coalition, round, slot);
CREATE INDEX uploads_by_age ON uploads (state, created_at);

CREATE TABLE upload_parts (
    upload TEXT NOT NULL,
    part BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (upload, part)
);

CREATE TABLE blob_refs (
    log TEXT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    kind TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (log, digest)
);
CREATE INDEX blob_refs_by_digest ON blob_refs (digest);
