-- Where the bytes of a repository's large files lie. Written with the first of them; moving the repository changes nothing.
CREATE TABLE repo_domains (
    repo TEXT NOT NULL PRIMARY KEY,
    domain TEXT NOT NULL
);

-- Xorbs by the hash of their chunks. `chunks` lists them: 32 bytes of hash, packed and unpacked bytes as u32, little-endian.
CREATE TABLE xorbs (
    domain TEXT NOT NULL,
    hash TEXT NOT NULL,
    size BIGINT NOT NULL,
    chunks {blob} NOT NULL,
    stored_at BIGINT NOT NULL,
    PRIMARY KEY (domain, hash)
);

-- Which xorbs came in through which repository: by this alone files cite them.
CREATE TABLE repo_xorbs (
    repo TEXT NOT NULL,
    xorb TEXT NOT NULL,
    PRIMARY KEY (repo, xorb)
);
CREATE INDEX repo_xorbs_by_xorb ON repo_xorbs (xorb);

-- What the files of a repository are made of. `segments` lists the parts: 32 bytes of the xorb's hash, first chunk, one past
-- the last chunk and unpacked bytes as u32, little-endian.
CREATE TABLE xet_files (
    repo TEXT NOT NULL,
    hash TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    segments {blob} NOT NULL,
    PRIMARY KEY (repo, hash)
);

-- The chunks that are looked for across files: some of each xorb, and the first of each file.
CREATE TABLE xet_chunks (
    domain TEXT NOT NULL,
    chunk TEXT NOT NULL,
    xorb TEXT NOT NULL,
    PRIMARY KEY (domain, chunk, xorb)
);

-- The hash by which a large file stands in xet_files; none for files whose bytes lie as a whole.
ALTER TABLE repo_files ADD COLUMN xet TEXT;
