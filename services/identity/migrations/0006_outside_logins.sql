-- Beside her phone a person may sign in by what another party says she is: a WeChat openid, or the
-- subject of an OIDC issuer. Each is linked to her by a code that her phone was sent.
ALTER TABLE login_method
    DROP CONSTRAINT login_method_kind_check,
    ADD CONSTRAINT login_method_kind_check CHECK (kind IN ('phone', 'wechat', 'oidc'));

-- Who has just been signed in by another party and is nobody's yet: good once, for the person whose
-- phone is proven next. The ticket itself is kept nowhere.
CREATE TABLE login_ticket (
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    id         uuid NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('wechat', 'oidc')),
    -- What the subject is found by, and the subject itself, sealed by the key-encryption key.
    blind      bytea NOT NULL CHECK (octet_length(blind) = 32),
    subject    bytea NOT NULL,
    -- SHA-256 of what only the client knows that began the login; WeChat's begins nowhere.
    challenge  bytea CHECK (octet_length(challenge) = 32),
    expires_at timestamptz NOT NULL,
    CONSTRAINT login_ticket_challenge CHECK ((kind = 'oidc') = (challenge IS NOT NULL))
);
CREATE INDEX login_ticket_expires_at ON login_ticket (expires_at);

-- A login that was sent to an OIDC issuer and has not come back: what must be the same when it does.
-- The state itself is kept nowhere.
CREATE TABLE oidc_request (
    state      bytea PRIMARY KEY CHECK (octet_length(state) = 32),
    id         uuid NOT NULL,
    issuer     text NOT NULL,
    -- Nonce and PKCE verifier, sealed by the key-encryption key.
    sealed     bytea NOT NULL,
    -- SHA-256 of what only the client knows that began it: state and code stand in an address.
    challenge  bytea NOT NULL CHECK (octet_length(challenge) = 32),
    expires_at timestamptz NOT NULL
);
CREATE INDEX oidc_request_expires_at ON oidc_request (expires_at);

-- Whether a code that her phone was sent opened the login: those of before all were opened so.
ALTER TABLE login ADD COLUMN by_phone boolean NOT NULL DEFAULT true;
