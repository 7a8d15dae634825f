-- What was found in files of repositories by reading them, so that they are not read again. A file is known by its git blob,
-- and only inside its repository: what one holds says nothing about another.
CREATE TABLE content_facts (
    repo TEXT NOT NULL,
    blob TEXT NOT NULL,
    -- 'tensors', 'shards', 'pickle' or 'rows'.
    what TEXT NOT NULL,
    -- As JSON.
    facts TEXT NOT NULL,
    PRIMARY KEY (repo, blob, what)
);
