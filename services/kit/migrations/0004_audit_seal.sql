-- Which transaction wrote a row: what is sealed goes by the order of commits, as what is published
-- does. Rows of before get this migration's own number, and so are sealed first.
ALTER TABLE audit ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX audit_xid ON audit (xid);

-- How far the sealer is: all that s1 sees is sealed, and of what s2 sees all up to a row. Up to
-- floor_id all is sealed whatever their transactions' numbers say, which are those of another
-- cluster when the database was restored.
CREATE TABLE audit_sealer (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    s1       pg_snapshot NOT NULL,
    s2       pg_snapshot,
    last_id  bigint NOT NULL DEFAULT 0,
    floor_id bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
-- A snapshot that sees nothing.
INSERT INTO audit_sealer (s1) VALUES ('3:3:');

-- The chain: hash = SHA-256(hash of the position before || canonical bytes of the row). Positions
-- are dense from one. The role that serves adds to it and changes nothing in it.
CREATE TABLE audit_seal (
    position bigint PRIMARY KEY CHECK (position > 0),
    audit    bigint NOT NULL UNIQUE,
    hash     bytea NOT NULL CHECK (octet_length(hash) = 32)
);

-- The heads that were published.
CREATE TABLE audit_head (
    position bigint PRIMARY KEY,
    hash     bytea NOT NULL CHECK (octet_length(hash) = 32),
    at       timestamptz NOT NULL
);
