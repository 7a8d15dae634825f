-- Discussions and pull requests of repositories, numbered from 1 in each.
CREATE TABLE discussions (
    repo TEXT NOT NULL,
    num BIGINT NOT NULL,
    author TEXT NOT NULL,
    title TEXT NOT NULL,
    status TEXT NOT NULL,
    pull_request BIGINT NOT NULL,
    -- The branch that a pull request would change, and the commit that it was merged with.
    base TEXT NOT NULL,
    merge_commit TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (repo, num)
);

CREATE TABLE discussion_events (
    id TEXT NOT NULL PRIMARY KEY,
    repo TEXT NOT NULL,
    num BIGINT NOT NULL,
    place BIGINT NOT NULL,
    author TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- What the kind needs, as JSON.
    data TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (repo, num, place)
);
