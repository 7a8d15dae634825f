-- Codes with which parties register on a hub that is not open to everybody. Only the hash of a code is kept.
CREATE TABLE invitations (
    id TEXT NOT NULL PRIMARY KEY,
    hash {blob} NOT NULL UNIQUE,
    party TEXT,
    uses BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);

-- Who has used one: bound to the root key, so that the same party may try again after a crash and nobody else in its name.
CREATE TABLE invitation_uses (
    invitation TEXT NOT NULL,
    party TEXT NOT NULL,
    root TEXT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (invitation, party)
);
