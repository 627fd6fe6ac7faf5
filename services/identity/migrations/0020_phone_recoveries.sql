-- Who has lost her phone asks from a new one, by her document. An office that has seen her and an
-- operator say that it is she; her phones and logins so far are told, and then have time to take it
-- back. The new phone and what she claims are sealed under her data key, and gone when it ends.
CREATE TABLE phone_recovery (
    id           uuid PRIMARY KEY,
    member       uuid NOT NULL REFERENCES member (id),
    state        text NOT NULL CHECK (state IN ('asked', 'claimed', 'confirmed', 'approved',
        'done', 'not_matched', 'expired', 'recalled', 'stopped')),
    -- The new phone, and what it is found by.
    phone        bytea,
    blind        bytea CHECK (octet_length(blind) = 32),
    -- Name and document, until the service of the state has answered.
    claim        bytea,
    asked_at     timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    confirmed_by uuid REFERENCES member (id),
    confirmed_at timestamptz,
    approved_by  uuid REFERENCES member (id),
    approved_at  timestamptz,
    -- From when on it is carried out.
    due_at       timestamptz,
    -- Who has taken it back or stopped it; nobody where time or a service has ended it.
    ended_by     uuid REFERENCES member (id),
    ended_at     timestamptz,
    CONSTRAINT phone_recovery_claim CHECK (claim IS NULL OR ended_at IS NULL),
    CONSTRAINT phone_recovery_ended CHECK ((ended_at IS NOT NULL)
        = (state IN ('done', 'not_matched', 'expired', 'recalled', 'stopped'))),
    CONSTRAINT phone_recovery_forgets CHECK ((ended_at IS NULL) = (phone IS NOT NULL)
        AND (phone IS NULL) = (blind IS NULL)),
    CONSTRAINT phone_recovery_seen CHECK ((confirmed_by IS NULL) = (confirmed_at IS NULL)
        AND (state <> 'confirmed' OR confirmed_by IS NOT NULL)),
    CONSTRAINT phone_recovery_by_two CHECK (state NOT IN ('approved', 'done')
        OR (confirmed_by IS NOT NULL AND approved_by IS NOT NULL AND approved_at IS NOT NULL
            AND due_at IS NOT NULL)),
    CONSTRAINT phone_recovery_of_others CHECK (confirmed_by <> member
        AND approved_by NOT IN (member, confirmed_by)),
    CONSTRAINT phone_recovery_in_time CHECK (state <> 'done' OR ended_at >= due_at)
);
CREATE UNIQUE INDEX phone_recovery_one_open ON phone_recovery (member) WHERE ended_at IS NULL;
CREATE INDEX phone_recovery_member ON phone_recovery (member, asked_at DESC);
CREATE INDEX phone_recovery_over ON phone_recovery (ended_at) WHERE confirmed_by IS NULL;

-- A phone that nobody has and that is to be sent a code: nobody's data key can seal it.
CREATE TABLE recovery_phone (
    blind      bytea PRIMARY KEY CHECK (octet_length(blind) = 32),
    -- The code's.
    id         uuid NOT NULL UNIQUE,
    phone      bytea NOT NULL,
    kek        bytea GENERATED ALWAYS AS (substring(phone FROM 2 FOR 4)) STORED
        CONSTRAINT recovery_phone_kek_fkey REFERENCES vault_kek (id),
    expires_at timestamptz NOT NULL
);
CREATE INDEX recovery_phone_expires_at ON recovery_phone (expires_at);

-- Both are of the vault: see 0010.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['phone_recovery', 'recovery_phone'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY vault_serves ON %I TO bashu_app
            USING (true) WITH CHECK (true)', name);
    END LOOP;
END $$;
