-- What the objects of a repository's history occupy, and whose quota they count against. Bytes that came since are added;
-- what lies there is measured once a day.
CREATE TABLE repo_histories (
    repo TEXT NOT NULL PRIMARY KEY,
    domain TEXT NOT NULL,
    bytes BIGINT NOT NULL
);
CREATE INDEX repo_histories_by_domain ON repo_histories (domain, bytes);
