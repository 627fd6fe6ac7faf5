-- The key-encrypting keys (KEK) that something in this database is sealed by, each with a value
-- that it must open. A KEK is in use as long as a row refers to it: the references below keep it
-- from being dropped, and keep a process that has not heard of that from writing under it again.
CREATE TABLE vault_kek (
    -- As each ciphertext names it, after its first byte.
    id         bytea PRIMARY KEY CHECK (octet_length(id) = 4),
    sealed     bytea NOT NULL CHECK (substring(sealed FROM 2 FOR 4) = id),
    created_at timestamptz NOT NULL
);
INSERT INTO vault_kek (id, sealed, created_at)
    SELECT substring(sealed FROM 2 FOR 4), sealed, now() FROM vault_check;
-- What it was is in the table above; the other keys' value stays.
ALTER TABLE vault_check ALTER COLUMN sealed DROP NOT NULL;

ALTER TABLE person ADD COLUMN kek bytea
    GENERATED ALWAYS AS (substring(data_key FROM 2 FOR 4)) STORED
    CONSTRAINT person_kek_fkey REFERENCES vault_kek (id);
ALTER TABLE roster ADD COLUMN kek bytea
    GENERATED ALWAYS AS (substring(data_key FROM 2 FOR 4)) STORED
    CONSTRAINT roster_kek_fkey REFERENCES vault_kek (id);
ALTER TABLE signing_key ADD COLUMN kek bytea
    GENERATED ALWAYS AS (substring(private FROM 2 FOR 4)) STORED
    CONSTRAINT signing_key_kek_fkey REFERENCES vault_kek (id);
ALTER TABLE login_ticket ADD COLUMN kek bytea
    GENERATED ALWAYS AS (substring(subject FROM 2 FOR 4)) STORED
    CONSTRAINT login_ticket_kek_fkey REFERENCES vault_kek (id);
ALTER TABLE oidc_request ADD COLUMN kek bytea
    GENERATED ALWAYS AS (substring(sealed FROM 2 FOR 4)) STORED
    CONSTRAINT oidc_request_kek_fkey REFERENCES vault_kek (id);
-- A rotation walks by these, and a KEK is dropped by them without reading a whole table.
CREATE INDEX person_kek ON person (kek, member);
CREATE INDEX roster_kek ON roster (kek, id);

-- The vault is read by the role that serves and by nobody else: a role that is granted a look at
-- every table, to report or to copy, sees no row of these, nor does their owner, who migrates. A
-- migration that must touch such rows says so: ALTER TABLE … NO FORCE ROW LEVEL SECURITY.
DO $$
DECLARE
    name text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bashu_app') THEN
        RAISE EXCEPTION 'the role bashu_app, which serves, is not there';
    END IF;
    FOREACH name IN ARRAY ARRAY['person', 'document', 'login_method', 'second_factor',
        'recovery_code', 'roster_row', 'signing_key', 'vault_kek', 'vault_check'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY vault_serves ON %I TO bashu_app
            USING (true) WITH CHECK (true)', name);
    END LOOP;
END $$;
