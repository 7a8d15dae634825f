-- Roots of the complete subtrees at levels 8, 16, 24 …: what a proof needs of the entries far from it. They follow from
-- the entries; an older database gets them when its logs are opened.
CREATE TABLE log_nodes (
    log TEXT NOT NULL,
    level BIGINT NOT NULL,
    idx BIGINT NOT NULL,
    hash {blob} NOT NULL,
    PRIMARY KEY (log, level, idx)
);

-- Logs that came back from a backup or from tiles and take no entry until their witnesses were heard.
CREATE TABLE log_restores (
    log TEXT NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL,
    restored_at BIGINT NOT NULL
);

-- What the witnesses of such a log have said: the largest size that each node has seen.
CREATE TABLE log_restore_reports (
    log TEXT NOT NULL,
    node TEXT NOT NULL,
    party TEXT NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (log, node)
);

-- A restore that began; a hub does not start on one that did not finish.
CREATE TABLE restores (
    id BIGINT NOT NULL PRIMARY KEY,
    began_at BIGINT NOT NULL,
    finished_at BIGINT
);
