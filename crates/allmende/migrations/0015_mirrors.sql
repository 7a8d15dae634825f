-- Repositories that follow another hub's repository, or bundles of it.
CREATE TABLE mirrors (
    repo TEXT NOT NULL PRIMARY KEY,
    -- The other hub's address; empty where bundles are brought by hand.
    url TEXT NOT NULL,
    -- SHA-256 of its TLS public key, where its certificate is its own; empty where authorities vouch for it.
    tls_pin TEXT NOT NULL,
    -- owner/name there.
    source TEXT NOT NULL,
    -- The repository's id there, and the key that signs what comes; both empty until something came.
    source_id TEXT NOT NULL,
    signer TEXT NOT NULL,
    -- Sealed with this hub's key; empty without one.
    token {blob} NOT NULL,
    -- Seconds between two looks; 0 is when asked alone.
    every_s BIGINT NOT NULL,
    -- When it is looked at next; none is when asked alone.
    next_at BIGINT,
    -- Until when a process is at it.
    busy_until BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    error TEXT NOT NULL,
    -- When what stands here was made there, and when it was last known to be all there is.
    made_at BIGINT NOT NULL,
    synced_at BIGINT,
    -- Of what came last: bytes on the wire, bytes of xorbs that were stored, large files that are not there either.
    fetched_bytes BIGINT NOT NULL,
    stored_bytes BIGINT NOT NULL,
    lacking BIGINT NOT NULL,
    -- Refs that went elsewhere than onward, latest last, as JSON.
    rewritten TEXT NOT NULL
);
CREATE INDEX mirrors_by_next ON mirrors (next_at);
