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
