-- Since when nothing has needed a large file of a repository: no revision of any ref. Null while one does.
ALTER TABLE repo_files ADD COLUMN loose_since BIGINT;
-- The same for xorbs, which files need.
ALTER TABLE xorbs ADD COLUMN loose_since BIGINT;
-- How the name of a xorb's object ends: drawn by chance, so that no name is given twice. Empty where it ends with its layout.
ALTER TABLE xorbs ADD COLUMN object TEXT NOT NULL DEFAULT '';
-- What a domain occupies is a sum over this index alone.
CREATE INDEX xorbs_by_size ON xorbs (domain, size);
CREATE INDEX repo_domains_by_domain ON repo_domains (domain, repo);

-- How many bytes of large files an account may keep, where that is not the hub's default.
CREATE TABLE account_quotas (
    account TEXT NOT NULL PRIMARY KEY,
    bytes BIGINT NOT NULL
);
