-- What identity publishes about who may do what. Written by kit's consumer alone.
CREATE TABLE replica_organisation (
    id         uuid PRIMARY KEY,
    epoch      bigint NOT NULL,
    version    bigint NOT NULL,
    name       text NOT NULL,
    division   text NOT NULL,
    -- From the root to the organisation itself.
    path       uuid[] NOT NULL,
    partner    boolean NOT NULL,
    closed     boolean NOT NULL
);
CREATE TABLE replica_member (
    id          uuid PRIMARY KEY,
    epoch       bigint NOT NULL,
    version     bigint NOT NULL,
    state       text NOT NULL CHECK (state IN ('active', 'merged', 'erased')),
    merged_into uuid
);
CREATE TABLE replica_membership (
    id           uuid PRIMARY KEY,
    epoch        bigint NOT NULL,
    version      bigint NOT NULL,
    member       uuid NOT NULL,
    organisation uuid NOT NULL,
    state        text NOT NULL,
    since        date NOT NULL,
    until        date
);
CREATE INDEX replica_membership_member ON replica_membership (member);
CREATE TABLE replica_role (
    id           uuid PRIMARY KEY,
    epoch        bigint NOT NULL,
    version      bigint NOT NULL,
    member       uuid NOT NULL,
    organisation uuid NOT NULL,
    role         text NOT NULL,
    withdrawn    boolean NOT NULL
);
CREATE INDEX replica_role_member ON replica_role (member) WHERE NOT withdrawn;
CREATE TABLE replica_withdrawn_login (
    id           uuid PRIMARY KEY,
    withdrawn_at timestamptz NOT NULL
);
-- The newest key set, its bytes as the root signed them.
CREATE TABLE replica_key_set (
    issuer    smallint PRIMARY KEY,
    version   bigint NOT NULL,
    bytes     bytea NOT NULL,
    signature bytea NOT NULL
);
CREATE TABLE replica_heartbeat (
    part int PRIMARY KEY,
    at   timestamptz NOT NULL
);
