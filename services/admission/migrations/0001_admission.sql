-- A place with gates. Coordinates are WGS-84 in 1e-7 degrees.
CREATE TABLE venue (
    id                 uuid PRIMARY KEY,
    version            bigint NOT NULL,
    -- The company that runs it, and is paid for entries.
    organisation       uuid NOT NULL,
    name_zh            text NOT NULL,
    name_en            text NOT NULL,
    division           integer NOT NULL,
    latitude_e7        integer NOT NULL,
    longitude_e7       integer NOT NULL,
    coordinates_source text NOT NULL,
    tags               text[] NOT NULL,
    -- In the text form of `domain::opening`; empty: not judged by the clock.
    opening            text NOT NULL,
    -- People inside at once, at most; null without a limit. Kept only where exits are scanned.
    capacity           integer,
    tracks_exits       boolean NOT NULL,
    suspended          boolean NOT NULL,
    gates              smallint NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL,
    CONSTRAINT venue_name_once UNIQUE (organisation, name_zh),
    CONSTRAINT venue_version_positive CHECK (version > 0),
    CONSTRAINT venue_division CHECK (division BETWEEN 500000 AND 519999),
    CONSTRAINT venue_latitude CHECK (latitude_e7 BETWEEN -900000000 AND 900000000),
    CONSTRAINT venue_longitude CHECK (longitude_e7 BETWEEN -1800000000 AND 1800000000),
    CONSTRAINT venue_capacity CHECK (capacity > 0),
    CONSTRAINT venue_gates CHECK (gates BETWEEN 0 AND 255)
);
CREATE INDEX venue_tags ON venue USING gin (tags);

-- Who is inside, on one Shanghai day: the row every redemption of the venue locks.
CREATE TABLE venue_counter (
    venue  uuid PRIMARY KEY REFERENCES venue (id),
    day    date NOT NULL,
    inside integer NOT NULL,
    CONSTRAINT counter_not_negative CHECK (inside >= 0)
) WITH (fillfactor = 50);

-- A key at a door.
CREATE TABLE gate (
    id              uuid PRIMARY KEY,
    version         bigint NOT NULL,
    venue           uuid NOT NULL REFERENCES venue (id),
    -- What a credential's home gate means: 1 to 255 within the venue.
    number          smallint NOT NULL,
    name            text NOT NULL,
    disabled        boolean NOT NULL,
    -- How often a key was bound; 0 before the first.
    enrolment       integer NOT NULL,
    public_key      bytea,
    enrolled_at     timestamptz,
    -- The one-time code: its public half, and the hash of the secret one.
    code_selector   text,
    code_hash       bytea,
    code_expires_at timestamptz,
    code_attempts   smallint NOT NULL DEFAULT 0,
    code_used       boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL,
    CONSTRAINT gate_number_once UNIQUE (venue, number),
    CONSTRAINT gate_code_once UNIQUE (code_selector),
    CONSTRAINT gate_version_positive CHECK (version > 0),
    CONSTRAINT gate_number CHECK (number BETWEEN 1 AND 255),
    CONSTRAINT gate_enrolment CHECK ((enrolment = 0) = (public_key IS NULL)),
    CONSTRAINT gate_key_bytes CHECK (octet_length(public_key) = 32)
);

-- Staff at work.
CREATE TABLE shift (
    id        uuid PRIMARY KEY,
    venue     uuid NOT NULL REFERENCES venue (id),
    gate      uuid REFERENCES gate (id),
    member    uuid NOT NULL,
    opened_at timestamptz NOT NULL,
    -- When it ends by itself.
    closes_at timestamptz NOT NULL,
    closed_at timestamptz,
    CONSTRAINT shift_span CHECK (opened_at < closes_at)
);
CREATE UNIQUE INDEX shift_one_open ON shift (member) WHERE closed_at IS NULL;
CREATE INDEX shift_open_gate ON shift (gate) WHERE closed_at IS NULL AND gate IS NOT NULL;
CREATE INDEX shift_venue ON shift (venue, opened_at);

-- What selling services say of entitlements, without their holders. Version 0: a credential was
-- shown, or a scan looked for it, before its event arrived.
CREATE TABLE entitlement (
    id             bigint PRIMARY KEY,
    epoch          bigint NOT NULL DEFAULT 0,
    version        bigint NOT NULL DEFAULT 0,
    home           smallint NOT NULL,
    scope          bigint NOT NULL,
    state          text NOT NULL DEFAULT 'unseen',
    valid_from     integer NOT NULL DEFAULT 0,
    valid_until    integer NOT NULL DEFAULT 0,
    gen            smallint NOT NULL DEFAULT 0,
    persons        integer NOT NULL DEFAULT 1,
    document_check boolean NOT NULL DEFAULT false,
    rules_version  bigint NOT NULL DEFAULT 0,
    freeze_version bigint NOT NULL DEFAULT 0,
    order_id       uuid,
    -- The first admission on the signature alone.
    first_used_at  timestamptz,
    -- Nobody answered for it in time.
    blocked        boolean NOT NULL DEFAULT false,
    -- How often it was blocked or cleared: the version of that event.
    block_version  bigint NOT NULL DEFAULT 0,
    CONSTRAINT entitlement_state CHECK (state IN ('unseen', 'active', 'frozen', 'revoked')),
    CONSTRAINT entitlement_seen CHECK ((version = 0) = (state = 'unseen')),
    CONSTRAINT entitlement_blocked_unseen CHECK (NOT blocked OR state = 'unseen'),
    CONSTRAINT entitlement_persons CHECK (persons BETWEEN 1 AND 4095),
    CONSTRAINT entitlement_gen CHECK (gen BETWEEN 0 AND 255)
) WITH (fillfactor = 80);
CREATE INDEX entitlement_order ON entitlement (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX entitlement_blocked ON entitlement (id) WHERE blocked;

-- The numbers that people quote for orders, as billing tells them.
CREATE TABLE order_number (
    order_id uuid PRIMARY KEY,
    number   text NOT NULL,
    epoch    bigint NOT NULL
);
CREATE INDEX order_number_quoted ON order_number (number);

-- The products' public state, and the entry rules of each of their versions.
CREATE TABLE product (
    scope         bigint PRIMARY KEY,
    id            uuid NOT NULL,
    epoch         bigint NOT NULL,
    version       bigint NOT NULL,
    name_zh       text NOT NULL,
    name_en       text NOT NULL,
    state         text NOT NULL,
    -- The newest rules: those that an entitlement without a grant is judged by.
    rules_version bigint,
    venue_ids     uuid[] NOT NULL,
    venue_tags    text[] NOT NULL,
    CONSTRAINT product_state CHECK (state IN ('draft', 'published', 'stopped'))
);
CREATE TABLE product_rules (
    scope         bigint NOT NULL,
    rules_version bigint NOT NULL,
    epoch         bigint NOT NULL,
    rules         bytea NOT NULL,
    PRIMARY KEY (scope, rules_version)
);

-- People admitted on a signature alone, in each hour.
CREATE TABLE unseen_budget (
    scope bigint NOT NULL,
    hour  timestamptz NOT NULL,
    used  integer NOT NULL,
    PRIMARY KEY (scope, hour),
    CONSTRAINT unseen_budget_kept CHECK (used BETWEEN 0 AND 200)
);

-- One scan and what it was answered, or one supervisor's override: never deleted.
CREATE TABLE redemption (
    id               uuid PRIMARY KEY,
    version          bigint NOT NULL,
    venue            uuid NOT NULL,
    gate             uuid NOT NULL,
    -- The scan id of the device; null for an override.
    enrolment        integer,
    seq              bigint,
    -- SHA-256 of the text that was scanned.
    token_hash       bytea,
    entitlement      bigint,
    gen              smallint NOT NULL,
    scope            bigint NOT NULL,
    direction        text NOT NULL,
    persons          integer NOT NULL,
    decision         text NOT NULL,
    reason           text,
    at               timestamptz NOT NULL,
    device_at        timestamptz,
    -- The Shanghai date of `at`, and the date the use counts on, which the grace may put back.
    scanned_on       date NOT NULL,
    counted_on       date NOT NULL,
    -- By how much it still changes the number of people inside on `scanned_on`.
    inside_delta     integer NOT NULL,
    payable          boolean NOT NULL,
    -- The open shift at the gate.
    shift            uuid,
    -- What was answered, to be answered again.
    remaining_today  integer,
    remaining_venue  integer,
    remaining_total  integer,
    hint_document    boolean NOT NULL,
    hint_photo       boolean NOT NULL,
    next_try_at      timestamptz,
    explained_used   integer,
    explained_limit  integer,
    explained_end    timestamptz,
    -- The rules at that moment, for whoever checks them later.
    rules_version    bigint,
    limit_day_here   integer,
    limit_day        integer,
    limit_here       integer,
    limit_total      integer,
    overridden       boolean NOT NULL,
    -- The denial that was overridden, or null when staff looked the entitlement up.
    overrides        uuid,
    override_by      uuid,
    override_reason  text,
    voided_at        timestamptz,
    voided_by        uuid,
    void_reason      text,
    CONSTRAINT redemption_scan_once UNIQUE (gate, enrolment, seq),
    CONSTRAINT redemption_override_once UNIQUE (overrides),
    CONSTRAINT redemption_origin CHECK (
        (NOT overridden AND enrolment IS NOT NULL AND seq IS NOT NULL AND token_hash IS NOT NULL)
        OR (overridden AND enrolment IS NULL AND seq IS NULL AND override_reason IS NOT NULL)),
    CONSTRAINT redemption_direction CHECK (direction IN ('entry', 'exit')),
    CONSTRAINT redemption_decision CHECK (decision IN ('admit', 'deny', 'ask')),
    CONSTRAINT redemption_reason CHECK ((decision = 'admit') = (reason IS NULL)),
    CONSTRAINT redemption_admits_known CHECK (decision <> 'admit' OR entitlement IS NOT NULL),
    CONSTRAINT redemption_only_admitted_moves CHECK (decision = 'admit' OR inside_delta = 0),
    CONSTRAINT redemption_void CHECK ((voided_at IS NULL) = (void_reason IS NULL)
        AND (voided_at IS NULL OR decision = 'admit')),
    CONSTRAINT redemption_persons CHECK (persons BETWEEN 1 AND 65535)
);
CREATE INDEX redemption_history ON redemption (entitlement, venue, counted_on) INCLUDE (persons)
    WHERE decision = 'admit' AND direction = 'entry' AND voided_at IS NULL;
CREATE INDEX redemption_of_entitlement ON redemption (entitlement, at)
    WHERE entitlement IS NOT NULL;
CREATE INDEX redemption_of_venue ON redemption (venue, at, id);
CREATE INDEX redemption_by_hand ON redemption (venue, at) WHERE overridden;

-- Who of an entitlement is inside a venue that scans exits, as of one Shanghai day.
CREATE TABLE presence (
    venue       uuid NOT NULL,
    entitlement bigint NOT NULL,
    day         date NOT NULL,
    inside      integer NOT NULL,
    PRIMARY KEY (venue, entitlement),
    CONSTRAINT presence_not_negative CHECK (inside >= 0)
);

-- What happened at a gate in an hour of a Shanghai day: `entry`, `exit`, `override`, `void`,
-- `ask:` and `deny:` with the reason.
CREATE TABLE figure (
    venue   uuid NOT NULL,
    day     date NOT NULL,
    gate    uuid NOT NULL,
    hour    smallint NOT NULL,
    what    text NOT NULL,
    times   bigint NOT NULL,
    persons bigint NOT NULL,
    PRIMARY KEY (venue, day, gate, hour, what),
    CONSTRAINT figure_hour CHECK (hour BETWEEN 0 AND 23),
    CONSTRAINT figure_positive CHECK (times > 0 AND persons > 0)
) WITH (fillfactor = 80);

-- Something a person must look at.
CREATE TABLE scan_alarm (
    id         uuid PRIMARY KEY,
    venue      uuid NOT NULL,
    gate       uuid NOT NULL,
    redemption uuid NOT NULL,
    code       text NOT NULL,
    at         timestamptz NOT NULL
);
CREATE INDEX scan_alarm_venue ON scan_alarm (venue, at);
