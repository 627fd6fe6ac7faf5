-- What the law gives a person, and by when: data, so that another deadline is a row of a migration
-- and no program.
CREATE TABLE person_right (
    name          text PRIMARY KEY CHECK (name IN ('export', 'erasure')),
    -- Within how many days of her request it is done.
    deadline_days integer NOT NULL CHECK (deadline_days BETWEEN 1 AND 365),
    -- How long she can think better of it before anything is done, in hours.
    grace_hours   integer NOT NULL CHECK (grace_hours BETWEEN 0 AND 24 * deadline_days),
    legal_basis   text NOT NULL CHECK (legal_basis <> '')
);
-- GB/T 35273-2020 names thirty days for both, and the drafts to 个人信息保护法 fifteen working days
-- for closing an account; fifteen days satisfy either.
INSERT INTO person_right (name, deadline_days, grace_hours, legal_basis) VALUES
('export', 15, 0, '个人信息保护法第四十五条'),
('erasure', 15, 168, '个人信息保护法第四十七条');

-- A person's wish to be forgotten: one row, whose version goes on when she wishes so again.
CREATE TABLE erasure (
    member      uuid PRIMARY KEY REFERENCES member (id),
    version     bigint NOT NULL CHECK (version > 0),
    -- closing: every service was asked what keeps her; held: something does.
    state       text NOT NULL CHECK (state IN ('asked', 'closing', 'held', 'recalled', 'erased')),
    -- The login she asked with.
    login       uuid NOT NULL,
    asked_at    timestamptz NOT NULL,
    grace_until timestamptz NOT NULL CHECK (grace_until >= asked_at),
    deadline    timestamptz NOT NULL CHECK (deadline >= grace_until),
    ended_at    timestamptz,
    CONSTRAINT erasure_ended CHECK ((state IN ('recalled', 'erased')) = (ended_at IS NOT NULL))
);
CREATE INDEX erasure_open ON erasure (deadline) WHERE ended_at IS NULL;

-- What keeps her, as each service answered last.
CREATE TABLE erasure_answer (
    member  uuid NOT NULL REFERENCES erasure (member),
    service text NOT NULL,
    -- The version of the erasure that it answers.
    version bigint NOT NULL,
    -- [{"kind": "open_order", "count": 1}, …]
    holds   jsonb NOT NULL,
    PRIMARY KEY (member, service)
);
-- Which services have forgotten her.
CREATE TABLE erasure_applied (
    member     uuid NOT NULL REFERENCES erasure (member),
    service    text NOT NULL,
    applied_at timestamptz NOT NULL,
    PRIMARY KEY (member, service)
);

ALTER TABLE login
    DROP CONSTRAINT login_reason_check,
    ADD CONSTRAINT login_reason_check CHECK (reason IN ('logout', 'withdrawn', 'reuse',
        'phone_changed', 'everywhere', 'second_factor', 'erased'));

-- All that is kept of a person, gathered from every service as she asked. What it holds is sealed
-- under her data key, and gone with it.
CREATE TABLE export (
    id         uuid PRIMARY KEY,
    -- Grows each time services are asked again.
    version    bigint NOT NULL CHECK (version > 0),
    member     uuid NOT NULL REFERENCES member (id),
    state      text NOT NULL CHECK (state IN ('gathering', 'ready', 'expired')),
    asked_at   timestamptz NOT NULL,
    deadline   timestamptz NOT NULL CHECK (deadline >= asked_at),
    ready_at   timestamptz,
    -- When it is forgotten, once it is ready.
    expires_at timestamptz,
    CONSTRAINT export_ready CHECK ((state = 'gathering') = (ready_at IS NULL)
        AND (ready_at IS NULL) = (expires_at IS NULL))
);
CREATE UNIQUE INDEX export_one_gathering ON export (member) WHERE state = 'gathering';
CREATE INDEX export_member ON export (member, asked_at DESC);
CREATE TABLE export_part (
    id      uuid PRIMARY KEY,
    export  uuid NOT NULL REFERENCES export (id) ON DELETE CASCADE,
    service text NOT NULL,
    -- The version of the request that it answers.
    version bigint NOT NULL,
    part    integer NOT NULL,
    parts   integer NOT NULL,
    sealed  bytea NOT NULL,
    CONSTRAINT export_part_once UNIQUE (export, service, version, part),
    CONSTRAINT export_part_of CHECK (part BETWEEN 1 AND parts)
);
-- An address that gives one file, once. The address itself is kept nowhere.
CREATE TABLE export_address (
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    export     uuid NOT NULL REFERENCES export (id) ON DELETE CASCADE,
    member     uuid NOT NULL,
    login      uuid NOT NULL,
    format     text NOT NULL CHECK (format IN ('json', 'xlsx')),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX export_address_export ON export_address (export);
CREATE INDEX export_address_expires_at ON export_address (expires_at);

ALTER TABLE notice
    DROP CONSTRAINT notice_kind_check,
    ADD CONSTRAINT notice_kind_check CHECK (kind IN ('bought', 'activated', 'expiring',
        'cancelled', 'refunded', 'on_roster', 'role_granted', 'new_login', 'login_linked',
        'second_factor_changed', 'export_ready',
        'erasure_held'));
