-- The organization under whose name a collaboration's releases stand.
ALTER TABLE accounts ADD COLUMN collaboration TEXT;
CREATE UNIQUE INDEX accounts_by_collaboration ON accounts (collaboration);

CREATE INDEX repos_by_collaboration ON repos (collaboration);

-- What parties read of repositories under terms, until the log has the sum.
CREATE TABLE repo_reads (
    collaboration TEXT NOT NULL,
    repository TEXT NOT NULL,
    party TEXT NOT NULL,
    -- Its begin, in milliseconds since 1970.
    period BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (collaboration, repository, party, period)
);
