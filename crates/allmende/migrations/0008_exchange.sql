-- Who likes which repository. How many do also stands in repos.likes.
CREATE TABLE likes (
    repo TEXT NOT NULL,
    account TEXT NOT NULL,
    liked_at BIGINT NOT NULL,
    PRIMARY KEY (repo, account)
);
CREATE INDEX likes_by_account ON likes (account, liked_at);

-- Lists of repositories and of other collections that somebody has put together.
CREATE TABLE collections (
    id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    creator TEXT NOT NULL,
    title TEXT NOT NULL,
    -- The title in lower case, for searching.
    title_key TEXT NOT NULL,
    description TEXT NOT NULL,
    private BIGINT NOT NULL,
    theme TEXT NOT NULL,
    place BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX collections_by_owner ON collections (owner, updated_at);
CREATE INDEX collections_by_change ON collections (updated_at);

CREATE TABLE collection_items (
    id TEXT NOT NULL PRIMARY KEY,
    collection TEXT NOT NULL,
    -- 'repo' or 'collection', and its id, which moving does not change.
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    place BIGINT NOT NULL,
    note TEXT NOT NULL,
    UNIQUE (collection, kind, target)
);
CREATE INDEX collection_items_by_target ON collection_items (kind, target);

-- Who asked for the files of a gated repository, and what came of it.
CREATE TABLE access_requests (
    id TEXT NOT NULL PRIMARY KEY,
    repo TEXT NOT NULL,
    account TEXT NOT NULL,
    status TEXT NOT NULL,
    -- Why it was rejected, for whoever asked.
    reason TEXT NOT NULL,
    -- What was filled in, as JSON.
    fields TEXT NOT NULL,
    asked_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    UNIQUE (repo, account)
);
CREATE INDEX access_requests_by_status ON access_requests (repo, status, asked_at);

CREATE TABLE webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    -- One of them is empty.
    url TEXT NOT NULL,
    job TEXT NOT NULL,
    domains TEXT NOT NULL,
    -- Sealed with a key that follows from the hub's; empty without one.
    secret {blob} NOT NULL,
    disabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX webhooks_by_owner ON webhooks (owner, created_at);

CREATE TABLE webhook_watches (
    webhook TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    -- 'account:name' or 'kind:owner/name', in lower case.
    watched TEXT NOT NULL,
    PRIMARY KEY (webhook, kind, name)
);
CREATE INDEX webhook_watches_by_watched ON webhook_watches (watched);

-- What is to be sent, and for a while what became of it.
CREATE TABLE webhook_deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    webhook TEXT NOT NULL,
    repo TEXT NOT NULL,
    event TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    -- Before this nobody tries; whoever tries puts it behind the time that trying takes.
    next_at BIGINT NOT NULL,
    -- The last answer's status, 0 without one.
    status BIGINT NOT NULL,
    error TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (state, next_at);
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook, created_at);
