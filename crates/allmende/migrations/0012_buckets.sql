-- What stands in buckets: files without a history. The bytes are those of the file of this hash in xet_files.
CREATE TABLE bucket_files (
    repo TEXT NOT NULL,
    -- In UTF-8, as bytes: every database then sorts them alike.
    path {blob} NOT NULL,
    xet TEXT NOT NULL,
    size BIGINT NOT NULL,
    -- When whoever put it there changed it last, by their own clock.
    mtime BIGINT,
    content_type TEXT,
    uploaded_at BIGINT NOT NULL,
    PRIMARY KEY (repo, path)
);
CREATE INDEX bucket_files_by_xet ON bucket_files (repo, xet);
