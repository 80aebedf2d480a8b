-- How we came to believe it. prev is set where the event before was pruned; elsewhere it is that event's hash.
CREATE TABLE events (
  seq   INTEGER PRIMARY KEY,
  fault INTEGER NOT NULL,      -- id of the fault; 0: the event concerns the node
  hash  BLOB    NOT NULL,      -- SHA-256 of the hash before and of body
  body  BLOB    NOT NULL,      -- JSON
  prev  BLOB
);
CREATE INDEX events_of_fault ON events (fault, seq);

-- What we believe: exactly what the events fold to.
CREATE TABLE beliefs (
  id   INTEGER PRIMARY KEY,
  seq  INTEGER NOT NULL,       -- of the event that it follows from; boots after it are not in it
  body BLOB    NOT NULL        -- JSON
);

-- The beliefs as they were at the newest prune event, which carries their digest.
CREATE TABLE snapshot (
  id   INTEGER PRIMARY KEY,
  seq  INTEGER NOT NULL,
  body BLOB NOT NULL
);

-- What each receiver was told last and was not told to be over.
CREATE TABLE told (
  sink     TEXT NOT NULL,
  code     TEXT NOT NULL,
  resource TEXT NOT NULL,
  body     BLOB NOT NULL,      -- JSON
  PRIMARY KEY (sink, code, resource)
) WITHOUT ROWID;

-- How far each follower has come.
CREATE TABLE cursors (
  name TEXT PRIMARY KEY,
  seq  INTEGER NOT NULL
) WITHOUT ROWID;

-- The node itself, one row.
CREATE TABLE node (
  only      INTEGER PRIMARY KEY CHECK (only = 1),
  epoch     TEXT    NOT NULL,
  clean     INTEGER NOT NULL,  -- 1: the last process stopped in order
  clock     BLOB    NOT NULL,  -- JSON; the newest reading that was written
  set_aside BLOB,              -- JSON; the broken database that this one replaced
  anchor    BLOB               -- JSON; what remains of pruned events
);
