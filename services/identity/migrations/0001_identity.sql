-- Unions at every level and partner companies: one tree for each union.
CREATE TABLE organisation (
    id                uuid PRIMARY KEY,
    version           bigint NOT NULL CHECK (version > 0),
    kind              text NOT NULL
        CHECK (kind IN ('territorial', 'industrial', 'grassroots', 'group', 'partner')),
    parent            uuid REFERENCES organisation (id),
    industrial_parent uuid REFERENCES organisation (id),
    -- From the root to the organisation itself.
    path              uuid[] NOT NULL CHECK (path[cardinality(path)] = id),
    name              text NOT NULL CHECK (char_length(name) BETWEEN 2 AND 100),
    -- A union without legal-person status has none.
    uscc              text CHECK (char_length(uscc) = 18),
    division          text NOT NULL CHECK (char_length(division) = 6),
    created_at        timestamptz NOT NULL,
    closed_at         timestamptz,
    CONSTRAINT organisation_parent_above CHECK (cardinality(path) = 1 OR parent IS NOT NULL),
    CONSTRAINT organisation_not_own_industrial CHECK (industrial_parent <> id)
);
CREATE UNIQUE INDEX organisation_uscc_unique ON organisation (uscc);
CREATE UNIQUE INDEX organisation_name_unique ON organisation (parent, name)
    WHERE closed_at IS NULL;
CREATE UNIQUE INDEX organisation_one_root ON organisation ((true)) WHERE parent IS NULL;
CREATE INDEX organisation_children ON organisation (parent, created_at, id);

-- A person, once in this union. What is known of her is in the tables below, encrypted.
CREATE TABLE member (
    id          uuid PRIMARY KEY,
    version     bigint NOT NULL CHECK (version > 0),
    state       text NOT NULL CHECK (state IN ('active', 'merged', 'erased')),
    merged_into uuid REFERENCES member (id),
    created_at  timestamptz NOT NULL,
    CONSTRAINT member_merged CHECK ((state = 'merged') = (merged_into IS NOT NULL))
);

-- The vault. The data key is encrypted by the key-encryption key outside this database; all
-- else of the person by the data key. Without the data key the person is forgotten.
CREATE TABLE person (
    member   uuid PRIMARY KEY REFERENCES member (id),
    data_key bytea NOT NULL,
    name     bytea NOT NULL
);
CREATE TABLE document (
    id         uuid PRIMARY KEY,
    member     uuid NOT NULL REFERENCES member (id),
    kind       smallint NOT NULL CHECK (kind BETWEEN 1 AND 9),
    number     bytea NOT NULL,
    -- A keyed hash of kind and number; the key is outside this database.
    blind      bytea NOT NULL CHECK (octet_length(blind) = 32),
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX document_blind_unique ON document (blind);
CREATE INDEX document_member ON document (member);
CREATE TABLE login_method (
    id         uuid PRIMARY KEY,
    member     uuid NOT NULL REFERENCES member (id),
    kind       text NOT NULL CHECK (kind = 'phone'),
    subject    bytea NOT NULL,
    blind      bytea NOT NULL CHECK (octet_length(blind) = 32),
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX login_method_blind_unique ON login_method (blind);
CREATE UNIQUE INDEX login_method_one_phone ON login_method (member) WHERE kind = 'phone';

CREATE TABLE membership (
    id           uuid PRIMARY KEY,
    version      bigint NOT NULL CHECK (version > 0),
    member       uuid NOT NULL REFERENCES member (id),
    organisation uuid NOT NULL REFERENCES organisation (id),
    state        text NOT NULL
        CHECK (state IN ('applied', 'full', 'retained', 'left', 'removed')),
    -- Shanghai dates, half-open.
    since        date NOT NULL,
    until        date CHECK (until >= since),
    created_at   timestamptz NOT NULL,
    CONSTRAINT membership_ends CHECK ((state IN ('left', 'removed')) = (until IS NOT NULL))
);
CREATE UNIQUE INDEX membership_open_unique ON membership (member, organisation)
    WHERE until IS NULL;
CREATE INDEX membership_organisation ON membership (organisation, created_at, id);

CREATE TABLE role (
    id           uuid PRIMARY KEY,
    version      bigint NOT NULL CHECK (version > 0),
    member       uuid NOT NULL REFERENCES member (id),
    organisation uuid NOT NULL REFERENCES organisation (id),
    role         text NOT NULL CHECK (role IN
        ('officer', 'approver', 'auditor', 'venue_staff', 'venue_manager', 'operator')),
    granted_at   timestamptz NOT NULL,
    withdrawn_at timestamptz
);
CREATE UNIQUE INDEX role_held_unique ON role (member, organisation, role)
    WHERE withdrawn_at IS NULL;
CREATE INDEX role_organisation ON role (organisation) WHERE withdrawn_at IS NULL;

-- The newest login code of a phone, known here or not. The code itself is kept nowhere: it
-- follows from the id, the phone's keyed hash and a key outside this database.
CREATE TABLE login_code (
    phone      bytea PRIMARY KEY CHECK (octet_length(phone) = 32),
    id         uuid NOT NULL,
    created_at timestamptz NOT NULL,
    wrong      int NOT NULL CHECK (wrong BETWEEN 0 AND 5),
    used_at    timestamptz,
    -- When codes were asked for in the last day, oldest first.
    asked_at   timestamptz[] NOT NULL
);
CREATE UNIQUE INDEX login_code_id ON login_code (id);
CREATE INDEX login_code_created_at ON login_code (created_at);

CREATE TABLE login (
    id           uuid PRIMARY KEY,
    member       uuid NOT NULL REFERENCES member (id),
    created_at   timestamptz NOT NULL,
    used_at      timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    withdrawn_at timestamptz,
    reason       text CHECK (reason IN ('logout', 'withdrawn', 'reuse', 'phone_changed')),
    CONSTRAINT login_withdrawn CHECK ((withdrawn_at IS NULL) = (reason IS NULL))
);
CREATE INDEX login_member ON login (member, created_at, id);
CREATE INDEX login_expires_at ON login (expires_at);
CREATE TABLE refresh_token (
    hash      bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    login     uuid NOT NULL REFERENCES login (id) ON DELETE CASCADE,
    issued_at timestamptz NOT NULL,
    used_at   timestamptz
);
CREATE UNIQUE INDEX refresh_token_one_unused ON refresh_token (login) WHERE used_at IS NULL;

-- Private halves are encrypted by the key-encryption key.
CREATE TABLE signing_key (
    number       int PRIMARY KEY CHECK (number BETWEEN 1 AND 4095),
    purpose      text NOT NULL CHECK (purpose IN ('entry', 'access')),
    state        text NOT NULL CHECK (state IN ('active', 'retired', 'revoked')),
    public       bytea NOT NULL CHECK (octet_length(public) = 32),
    private      bytea NOT NULL,
    not_before   timestamptz NOT NULL,
    not_after    timestamptz NOT NULL CHECK (not_after > not_before),
    -- The first key set that announces it; null: no one can verify what it signs.
    published_in bigint,
    created_at   timestamptz NOT NULL
);
CREATE TABLE key_set (
    issuer       smallint NOT NULL,
    version      bigint NOT NULL CHECK (version > 0),
    bytes        bytea NOT NULL,
    signature    bytea NOT NULL CHECK (octet_length(signature) = 64),
    published_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, version)
);

-- What the keys outside this database must still open: a service with other keys does not start.
CREATE TABLE vault_check (
    id     int PRIMARY KEY CHECK (id = 1),
    sealed bytea NOT NULL,
    blind  bytea NOT NULL
);

-- Replica of entitlements: what a credential is minted from.
CREATE TABLE entitlement (
    id              bigint PRIMARY KEY,
    epoch           bigint NOT NULL,
    -- Zero: only a block has arrived yet.
    version         bigint NOT NULL,
    union_code      smallint,
    kind            text,
    state           text NOT NULL CHECK (state IN ('unknown', 'active', 'frozen', 'revoked')),
    scope           bigint NOT NULL,
    member          uuid,
    valid_from      int,
    valid_until     int,
    generation      int,
    document_check  boolean,
    persons         int,
    blocked         boolean NOT NULL DEFAULT false,
    blocked_epoch   bigint NOT NULL DEFAULT 0,
    blocked_version bigint NOT NULL DEFAULT 0,
    CONSTRAINT entitlement_known CHECK (state = 'unknown' OR (member IS NOT NULL
        AND kind IS NOT NULL AND valid_from IS NOT NULL AND valid_until IS NOT NULL
        AND generation IS NOT NULL AND document_check IS NOT NULL AND persons IS NOT NULL))
);
CREATE INDEX entitlement_member ON entitlement (member);

-- What `kit::access` and `kit::replica` read elsewhere from their replica is here the truth.
CREATE VIEW replica_organisation AS
    SELECT id, 1::bigint AS epoch, version, name, division, path, kind = 'partner' AS partner,
           closed_at IS NOT NULL AS closed
    FROM organisation;
CREATE VIEW replica_member AS
    SELECT id, 1::bigint AS epoch, version, state, merged_into FROM member;
CREATE VIEW replica_membership AS
    SELECT id, 1::bigint AS epoch, version, member, organisation, state, since, until
    FROM membership;
CREATE VIEW replica_role AS
    SELECT id, 1::bigint AS epoch, version, member, organisation, role,
           withdrawn_at IS NOT NULL AS withdrawn
    FROM role;
CREATE VIEW replica_withdrawn_login AS
    SELECT id, withdrawn_at FROM login WHERE withdrawn_at IS NOT NULL;
CREATE VIEW replica_key_set AS
    SELECT DISTINCT ON (issuer) issuer, version, bytes, signature
    FROM key_set ORDER BY issuer, version DESC;
CREATE VIEW replica_heartbeat AS
    SELECT 0 AS part, 'infinity'::timestamptz AS at;
