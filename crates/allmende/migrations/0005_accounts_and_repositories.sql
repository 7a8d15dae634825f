-- People and organizations that own repositories. Users and organizations share one space of names.
CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    -- The name in lower case: names that differ in nothing else are the same.
    name_key TEXT NOT NULL UNIQUE,
    full_name TEXT NOT NULL,
    -- The party that this organization is, if it has registered keys.
    party TEXT UNIQUE,
    -- Whether new repositories are private unless something else is asked for.
    private_default BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE memberships (
    organization TEXT NOT NULL,
    member TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (organization, member)
);
CREATE INDEX memberships_by_member ON memberships (member);

CREATE TABLE account_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    hash {blob} NOT NULL UNIQUE,
    label TEXT NOT NULL,
    -- What it may do, as JSON: {"role":"read"}, {"role":"write"} or {"role":"fine-grained","grants":[…]}.
    rights TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT
);
CREATE INDEX account_tokens_by_account ON account_tokens (account, created_at);

CREATE TABLE repos (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    creator TEXT NOT NULL,
    private BIGINT NOT NULL,
    gated TEXT NOT NULL,
    disabled BIGINT NOT NULL,
    -- The collaboration whose terms decide who may do what; empty for repositories of their owner alone.
    collaboration TEXT NOT NULL,
    -- Everything else that its owner has set, as JSON.
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- An index of the head of the main branch, which can be rebuilt from it: card, tags, sizes, as JSON.
    head TEXT NOT NULL,
    modified_at BIGINT NOT NULL,
    downloads BIGINT NOT NULL,
    likes BIGINT NOT NULL,
    UNIQUE (kind, owner, name_key)
);
CREATE INDEX repos_by_change ON repos (kind, modified_at);

-- Where repositories were before they moved.
CREATE TABLE repo_moves (
    kind TEXT NOT NULL,
    owner_key TEXT NOT NULL,
    name_key TEXT NOT NULL,
    repo TEXT NOT NULL,
    PRIMARY KEY (kind, owner_key, name_key)
);

-- Which large files a repository holds: by this alone their bytes are read or cited.
CREATE TABLE repo_files (
    repo TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    held_at BIGINT NOT NULL,
    PRIMARY KEY (repo, sha256)
);
