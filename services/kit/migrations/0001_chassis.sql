-- The outbox: insert-only; a child table is emptied by TRUNCATE when every tick is past it.
CREATE TABLE outbox (
    slot            smallint NOT NULL,
    id              bigint GENERATED ALWAYS AS IDENTITY,
    xid             xid8 NOT NULL DEFAULT pg_current_xact_id(),
    event_id        uuid NOT NULL,
    kind            text NOT NULL,
    key             bytea NOT NULL,
    version         bigint NOT NULL,
    must_understand boolean NOT NULL,
    payload         bytea NOT NULL,
    occurred_at     timestamptz NOT NULL,
    traceparent     text
) PARTITION BY LIST (slot);
CREATE TABLE outbox_0 PARTITION OF outbox FOR VALUES IN (0);
CREATE TABLE outbox_1 PARTITION OF outbox FOR VALUES IN (1);
CREATE TABLE outbox_2 PARTITION OF outbox FOR VALUES IN (2);
CREATE TABLE outbox_3 PARTITION OF outbox FOR VALUES IN (3);
CREATE INDEX outbox_xid ON outbox (xid);

-- The relay's state, one row for each shard: the tick between two snapshots, how far it has been
-- read, and of each partition the number and the offset of the last record acknowledged.
CREATE TABLE outbox_relay (
    shard     int PRIMARY KEY,
    epoch     bigint NOT NULL DEFAULT 1,
    -- Whether the record that opens the epoch is in every partition.
    announced boolean NOT NULL DEFAULT false,
    tick      bigint NOT NULL DEFAULT 0,
    s1        pg_snapshot NOT NULL,
    s2        pg_snapshot,
    last_id   bigint NOT NULL DEFAULT 0,
    pseqs     bigint[] NOT NULL DEFAULT '{}',
    offsets   bigint[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 10);
INSERT INTO outbox_relay (shard, s1) VALUES (0, pg_current_snapshot());

-- How far a consumer has applied a partition, changed in the transaction of the effect.
CREATE TABLE watermark (
    consumer    text NOT NULL,
    topic       text NOT NULL,
    part        int NOT NULL,
    -- 0 before the first record: any epoch may begin.
    epoch       bigint NOT NULL,
    next_offset bigint NOT NULL,
    -- -1 when any number may come next.
    last_pseq   bigint NOT NULL,
    -- Why the partition is stopped, and the offset of the record it stopped before.
    held        text,
    held_offset bigint,
    applied_at  timestamptz,
    PRIMARY KEY (consumer, topic, part)
) WITH (fillfactor = 10);

CREATE TABLE parked (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer  text NOT NULL,
    topic     text NOT NULL,
    part      int NOT NULL,
    "offset"  bigint NOT NULL,
    epoch     bigint NOT NULL,
    pseq      bigint NOT NULL,
    event_id  uuid NOT NULL,
    kind      text NOT NULL,
    key       bytea NOT NULL,
    version   bigint NOT NULL,
    must_understand boolean NOT NULL,
    at        timestamptz NOT NULL,
    traceparent text,
    payload   bytea NOT NULL,
    -- Why it was parked; null when it only waits behind an earlier record of its key.
    error     text,
    state     text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'applied', 'discarded')),
    reason    text,
    parked_at timestamptz NOT NULL,
    UNIQUE (consumer, topic, part, epoch, pseq)
);
CREATE INDEX parked_waiting ON parked (consumer, topic, key, epoch, pseq) WHERE state = 'waiting';
CREATE TABLE parked_key (
    consumer text NOT NULL,
    topic    text NOT NULL,
    key      bytea NOT NULL,
    since    timestamptz NOT NULL,
    PRIMARY KEY (consumer, topic, key)
);

CREATE TABLE once (
    caller       uuid NOT NULL,
    key          uuid NOT NULL,
    request_hash bytea NOT NULL,
    outcome      bytea,
    refusal      text,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (caller, key)
);
CREATE INDEX once_created_at ON once (created_at);

CREATE TABLE due (
    id            uuid PRIMARY KEY,
    kind          text NOT NULL,
    subject       text NOT NULL,
    ordinal       int NOT NULL DEFAULT 0,
    payload       jsonb NOT NULL,
    run_at        timestamptz NOT NULL,
    attempts      int NOT NULL DEFAULT 0,
    claimed_until timestamptz,
    -- How often it was planned: a plan made while it runs is not lost when it ends.
    asked         int NOT NULL DEFAULT 1,
    last_error    text,
    created_at    timestamptz NOT NULL,
    UNIQUE (kind, subject, ordinal)
);
CREATE INDEX due_run_at ON due (run_at);

CREATE TABLE audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member  uuid,
    login   uuid,
    act     text NOT NULL,
    subject text NOT NULL,
    detail  jsonb NOT NULL,
    at      timestamptz NOT NULL
);
CREATE INDEX audit_subject ON audit (subject, id);

-- Attempts counted in a window: limits per phone, officer and gate.
CREATE TABLE attempt (
    scope     text NOT NULL,
    subject   bytea NOT NULL,
    window_at timestamptz NOT NULL,
    count     int NOT NULL,
    PRIMARY KEY (scope, subject, window_at)
);
