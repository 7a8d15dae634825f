-- Refs that are about to move or have just moved. Written before git is asked, and gone once what follows from the move is
-- written too. What stands here for long was left by a process that died or is stopped, and is looked into by any other.
CREATE TABLE ref_moves (
    id TEXT NOT NULL PRIMARY KEY,
    repo TEXT NOT NULL,
    -- As JSON: [[name, old, new], …], where 40 zeros stand for no object.
    changes TEXT NOT NULL,
    begun_at BIGINT NOT NULL
);
CREATE INDEX ref_moves_by_time ON ref_moves (begun_at);
