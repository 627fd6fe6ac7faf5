-- The newest code of a phone for a purpose other than signing in: to make the phone hers who is
-- signed in, or to claim a record from it. Codes that sign in have rows of their own, so that
-- nobody voids or uses up another person's by asking for her phone. As in login_code the code
-- itself is kept nowhere.
CREATE TABLE phone_code (
    phone      bytea NOT NULL CHECK (octet_length(phone) = 32),
    purpose    text NOT NULL CHECK (purpose IN ('change', 'recovery')),
    id         uuid NOT NULL,
    created_at timestamptz NOT NULL,
    wrong      int NOT NULL CHECK (wrong BETWEEN 0 AND 5),
    used_at    timestamptz,
    -- When codes were asked for in the last day, oldest first.
    asked_at   timestamptz[] NOT NULL,
    PRIMARY KEY (phone, purpose)
);
CREATE UNIQUE INDEX phone_code_id ON phone_code (id);
CREATE INDEX phone_code_created_at ON phone_code (created_at);

-- Another phone for a person, named by one operator and then by another one: neither of them is
-- that person, and they are two. The phone itself is kept nowhere, since both name it.
CREATE TABLE phone_setting (
    id           uuid PRIMARY KEY,
    member       uuid NOT NULL REFERENCES member (id),
    state        text NOT NULL CHECK (state IN ('asked', 'done', 'expired')),
    -- What the phone is found by, while it waits.
    blind        bytea CHECK (octet_length(blind) = 32),
    asked_by     uuid NOT NULL REFERENCES member (id),
    asked_at     timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    confirmed_by uuid REFERENCES member (id),
    CONSTRAINT phone_setting_done CHECK ((state = 'done') = (confirmed_by IS NOT NULL)),
    CONSTRAINT phone_setting_forgets CHECK ((state = 'asked') = (blind IS NOT NULL)),
    CONSTRAINT phone_setting_by_two CHECK (confirmed_by <> asked_by),
    CONSTRAINT phone_setting_of_another CHECK
        (asked_by <> member AND confirmed_by IS DISTINCT FROM member)
);
CREATE UNIQUE INDEX phone_setting_one_asked ON phone_setting (member) WHERE state = 'asked';
CREATE INDEX phone_setting_member ON phone_setting (member, asked_at DESC);
-- It is of the vault: see 0010.
ALTER TABLE phone_setting ENABLE ROW LEVEL SECURITY;
ALTER TABLE phone_setting FORCE ROW LEVEL SECURITY;
CREATE POLICY vault_serves ON phone_setting TO bashu_app USING (true) WITH CHECK (true);

-- What a record was claimed by from a new phone: who claims by 网号 has no number to be named.
ALTER TABLE phone_recovery ADD COLUMN basis text NOT NULL DEFAULT 'document'
    CHECK (basis IN ('document', 'network_identity'));

-- A claim by 网号, until the service of the state has said whose that is: nobody's data key can
-- seal it.
CREATE TABLE network_claim (
    id         uuid PRIMARY KEY,
    -- The new phone, the name and the 网证.
    claim      bytea NOT NULL,
    kek        bytea GENERATED ALWAYS AS (substring(claim FROM 2 FOR 4)) STORED
        CONSTRAINT network_claim_kek_fkey REFERENCES vault_kek (id),
    expires_at timestamptz NOT NULL
);
-- It is of the vault: see 0010.
ALTER TABLE network_claim ENABLE ROW LEVEL SECURITY;
ALTER TABLE network_claim FORCE ROW LEVEL SECURITY;
CREATE POLICY vault_serves ON network_claim TO bashu_app USING (true) WITH CHECK (true);
