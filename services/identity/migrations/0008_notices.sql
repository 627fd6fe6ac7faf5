-- What members are told of: which thing happened, and the ids and figures that its text needs. No
-- name of a person is in one, and nothing of anybody else.
CREATE TABLE notice (
    -- Follows from what it tells of, so that nothing is told twice.
    id         uuid PRIMARY KEY,
    member     uuid NOT NULL REFERENCES member (id),
    kind       text NOT NULL CHECK (kind IN ('bought', 'activated', 'expiring', 'cancelled',
        'refunded', 'on_roster', 'role_granted', 'new_login', 'login_linked',
        'second_factor_changed')),
    params     jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    read_at    timestamptz,
    -- Whether an SMS tells of it too; `skipped`: she does not consent, does not want it, has no
    -- phone, or it came too late.
    sms        text NOT NULL CHECK (sms IN ('none', 'planned', 'handed_over', 'skipped')),
    -- When the provider was last given it.
    sms_at     timestamptz,
    CONSTRAINT notice_sms_kinds CHECK (sms = 'none' OR kind IN ('cancelled', 'refunded')),
    CONSTRAINT notice_sms_at CHECK ((sms = 'handed_over') = (sms_at IS NOT NULL))
);
CREATE INDEX notice_member ON notice (member, created_at, id);
CREATE INDEX notice_unread ON notice (member) WHERE read_at IS NULL;
CREATE INDEX notice_created_at ON notice (created_at);

-- The ids of notices that are gone, so that what a resync says again is not told again.
CREATE TABLE notice_told (
    id uuid PRIMARY KEY
);

-- What members want beside the notices here. Without a row: an SMS where she consents to it.
CREATE TABLE notice_preference (
    member uuid NOT NULL REFERENCES member (id),
    kind   text NOT NULL CHECK (kind IN ('cancelled', 'refunded')),
    sms    boolean NOT NULL,
    PRIMARY KEY (member, kind)
);

-- Replica of what passes are called.
CREATE TABLE notice_product (
    id      uuid PRIMARY KEY,
    epoch   bigint NOT NULL,
    version bigint NOT NULL,
    scope   bigint NOT NULL,
    name_zh text NOT NULL,
    name_en text NOT NULL
);
