-- Who somebody is, as the national service says. What she said of herself is sealed under her data
-- key and gone as soon as it was answered; which of name and number was wrong is kept nowhere.
CREATE TABLE verification (
    id          uuid PRIMARY KEY,
    member      uuid NOT NULL REFERENCES member (id),
    -- The kind of document; null for 网号, of which no number is known here.
    kind        smallint CHECK (kind BETWEEN 1 AND 9),
    claim       bytea,
    state       text NOT NULL CHECK (state IN ('asked', 'matched', 'not_matched', 'unanswered')),
    source      text NOT NULL CHECK (source IN ('national')),
    asked_at    timestamptz NOT NULL,
    -- When it is no longer asked.
    expires_at  timestamptz NOT NULL,
    answered_at timestamptz,
    CONSTRAINT verification_answered CHECK ((state = 'asked') = (answered_at IS NULL)),
    CONSTRAINT verification_forgets CHECK ((state = 'asked') = (claim IS NOT NULL))
);
CREATE UNIQUE INDEX verification_one_asked ON verification (member) WHERE state = 'asked';
CREATE INDEX verification_member ON verification (member, asked_at DESC, id DESC);
CREATE INDEX verification_over ON verification (answered_at)
    WHERE state IN ('not_matched', 'unanswered');

-- Whose a 网号 is: a keyed hash of it; the key is outside this database.
CREATE TABLE network_identity (
    blind  bytea PRIMARY KEY CHECK (octet_length(blind) = 32),
    member uuid NOT NULL REFERENCES member (id),
    since  timestamptz NOT NULL
);
CREATE INDEX network_identity_member ON network_identity (member);

-- Another phone that a person asks for: both phones were sent a code. One at a time, forgotten when
-- it is done or over.
CREATE TABLE phone_change (
    member     uuid PRIMARY KEY REFERENCES member (id),
    id         uuid NOT NULL,
    -- The new phone, sealed under her data key, and what it is found by.
    phone      bytea NOT NULL,
    blind      bytea NOT NULL CHECK (octet_length(blind) = 32),
    new_code   uuid NOT NULL,
    old_code   uuid NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX phone_change_new_code ON phone_change (new_code);
CREATE UNIQUE INDEX phone_change_old_code ON phone_change (old_code);
