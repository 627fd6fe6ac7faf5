-- With what and from where a person signed in, sealed under her data key, and when she last showed
-- a second factor with this device.
ALTER TABLE login
    ADD COLUMN device        bytea,
    ADD COLUMN network       bytea,
    ADD COLUMN stepped_up_at timestamptz,
    DROP CONSTRAINT login_reason_check,
    ADD CONSTRAINT login_reason_check CHECK (reason IN
        ('logout', 'withdrawn', 'reuse', 'phone_changed', 'everywhere', 'second_factor'));

-- A secret that a person's authenticator and this vault share (RFC 6238), sealed under her data
-- key. Until a code of it was shown it is not confirmed and opens nothing.
CREATE TABLE second_factor (
    id           uuid PRIMARY KEY,
    member       uuid NOT NULL REFERENCES member (id),
    secret       bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    confirmed_at timestamptz,
    -- The time step of the last code that was taken: no code of it or before is taken again.
    last_step    bigint,
    CONSTRAINT second_factor_confirmed CHECK ((confirmed_at IS NULL) = (last_step IS NULL))
);
CREATE UNIQUE INDEX second_factor_one_pending ON second_factor (member)
    WHERE confirmed_at IS NULL;
CREATE UNIQUE INDEX second_factor_one_confirmed ON second_factor (member)
    WHERE confirmed_at IS NOT NULL;

-- Ten codes for who has lost her authenticator, each good once. They are kept nowhere: only a hash
-- of each, under a key outside this database.
CREATE TABLE recovery_code (
    member  uuid NOT NULL REFERENCES member (id),
    hash    bytea NOT NULL CHECK (octet_length(hash) = 32),
    used_at timestamptz,
    PRIMARY KEY (member, hash)
);

-- A second factor that two operators take away, because its person has lost all of it: neither of
-- them is that person, and they are two.
CREATE TABLE second_factor_reset (
    id           uuid PRIMARY KEY,
    member       uuid NOT NULL REFERENCES member (id),
    state        text NOT NULL CHECK (state IN ('asked', 'done', 'expired')),
    asked_by     uuid NOT NULL REFERENCES member (id),
    asked_at     timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    confirmed_by uuid REFERENCES member (id),
    CONSTRAINT second_factor_reset_done CHECK ((state = 'done') = (confirmed_by IS NOT NULL)),
    CONSTRAINT second_factor_reset_by_two CHECK (confirmed_by <> asked_by),
    CONSTRAINT second_factor_reset_of_another CHECK
        (asked_by <> member AND confirmed_by IS DISTINCT FROM member)
);
CREATE UNIQUE INDEX second_factor_reset_one_asked ON second_factor_reset (member)
    WHERE state = 'asked';
