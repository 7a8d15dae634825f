-- Projections: what the logs say, in tables. Written in the transaction that appends, never read to decide, and the same
-- byte for byte when dropped and rebuilt. Nothing refers to them by a foreign key.

CREATE TABLE p_party_keys (
    key TEXT NOT NULL PRIMARY KEY,
    party TEXT NOT NULL,
    class TEXT NOT NULL
);
CREATE INDEX p_party_keys_by_party ON p_party_keys (party);

CREATE TABLE p_key_statements (
    party TEXT NOT NULL,
    idx BIGINT NOT NULL,
    PRIMARY KEY (party, idx)
);

CREATE TABLE p_collaborations (
    log TEXT NOT NULL PRIMARY KEY,
    title TEXT NOT NULL,
    founded_at BIGINT NOT NULL
);

CREATE TABLE p_members (
    log TEXT NOT NULL,
    party TEXT NOT NULL,
    standing TEXT NOT NULL,
    PRIMARY KEY (log, party)
);
CREATE INDEX p_members_by_party ON p_members (party, log);
