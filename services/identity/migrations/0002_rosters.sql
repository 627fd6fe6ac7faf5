-- Rosters: people as an office uploads them, on their way to be compared and committed. What is
-- known of a person is encrypted under a key of the roster, which is destroyed with the end of
-- the roster; what stays are the ids of those it named.
CREATE TABLE roster (
    id           uuid PRIMARY KEY,
    organisation uuid NOT NULL REFERENCES organisation (id),
    -- Who asked, and the login she asked with.
    officer      uuid NOT NULL REFERENCES member (id),
    login        uuid NOT NULL,
    purpose      text NOT NULL CHECK (purpose IN ('membership', 'list')),
    -- Whether it names everybody, so that who is not on it leaves.
    complete     boolean NOT NULL,
    state        text NOT NULL CHECK (state IN
        ('awaiting', 'reading', 'matching', 'ready', 'committed', 'failed', 'expired')),
    -- Why the newest file could not be used.
    problem      text,
    -- Whether the file that is being read corrects rows of the one before.
    correcting   boolean NOT NULL DEFAULT false,
    data_key     bytea,
    file         bytea,
    -- What else is told of the file, encrypted too: a column's name may be a person's.
    told         bytea,
    -- A hash of the memberships that it was compared with.
    basis        bytea CHECK (octet_length(basis) = 32),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    committed_at timestamptz,
    CONSTRAINT roster_list_is_not_complete CHECK (purpose = 'membership' OR NOT complete),
    CONSTRAINT roster_committed CHECK ((state = 'committed') = (committed_at IS NOT NULL)),
    CONSTRAINT roster_forgotten CHECK (state NOT IN ('committed', 'failed', 'expired')
        OR (data_key IS NULL AND file IS NULL AND told IS NULL))
);
CREATE INDEX roster_organisation ON roster (organisation, created_at, id);

-- An address that takes or gives one file, once. The address itself is kept nowhere.
CREATE TABLE roster_address (
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    roster     uuid NOT NULL REFERENCES roster (id) ON DELETE CASCADE,
    officer    uuid NOT NULL,
    login      uuid NOT NULL,
    purpose    text NOT NULL CHECK (purpose IN ('upload', 'correct', 'download')),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX roster_address_roster ON roster_address (roster);
CREATE INDEX roster_address_expires_at ON roster_address (expires_at);

CREATE TABLE roster_row (
    roster     uuid NOT NULL REFERENCES roster (id) ON DELETE CASCADE,
    -- The row of the file; those who leave come after the last one.
    place      int NOT NULL CHECK (place > 0),
    change     text NOT NULL CHECK (change IN
        ('pending', 'new', 'changed', 'unchanged', 'leaving', 'bad')),
    -- What stands in the row and what is wrong with it.
    sealed     bytea,
    member     uuid,
    membership uuid,
    PRIMARY KEY (roster, place)
);
CREATE INDEX roster_row_change ON roster_row (roster, change, place);
