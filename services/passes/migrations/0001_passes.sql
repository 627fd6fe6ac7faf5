-- What a credential names: one number for each product, for ever.
CREATE SEQUENCE product_scope AS integer START WITH 1;

CREATE TABLE product (
    id         uuid PRIMARY KEY,
    scope      integer NOT NULL DEFAULT nextval('product_scope'),
    -- The version of its public state: grows with each published version, stop and resumption.
    version    bigint NOT NULL,
    state      text NOT NULL,
    -- The version on sale; null before the first publication.
    current    integer,
    -- The version being written; null when none is.
    draft      integer,
    created_at timestamptz NOT NULL,
    CONSTRAINT product_scope_once UNIQUE (scope),
    CONSTRAINT product_scope_positive CHECK (scope > 0),
    CONSTRAINT product_state CHECK (state IN ('draft', 'published', 'stopped')),
    CONSTRAINT product_has_terms CHECK (current IS NOT NULL OR draft IS NOT NULL),
    CONSTRAINT product_draft_unsold CHECK ((state = 'draft') = (current IS NULL))
);
CREATE INDEX product_listed ON product (created_at, id) WHERE state = 'published';

CREATE TABLE product_version (
    product          uuid NOT NULL REFERENCES product (id),
    number           integer NOT NULL,
    name_zh          text NOT NULL,
    name_en          text NOT NULL,
    description_zh   text NOT NULL,
    description_en   text NOT NULL,
    price_fen        bigint NOT NULL,
    sale_from        timestamptz,
    sale_until       timestamptz,
    sale_limit       bigint,
    member_limit     integer,
    -- at_payment, or within a span and what happens when it is over.
    activation       text NOT NULL,
    activation_unit  text,
    activation_count integer,
    start_delay_days integer NOT NULL,
    duration_unit    text NOT NULL,
    duration_count   integer NOT NULL,
    -- [{"days": 7, "fee_percent": 0, "unused_only": true}, …], by rising days.
    refund_ladder    jsonb NOT NULL,
    -- How many days before its end a pass can be renewed; null when it cannot.
    renewal_days     integer,
    -- The entry rules in the canonical form of `credential::rules`.
    rules            bytea NOT NULL,
    evaluator_least  integer NOT NULL,
    -- The public state's version at its publication; null while it is a draft.
    published_as     bigint,
    published_at     timestamptz,
    PRIMARY KEY (product, number),
    CONSTRAINT version_number_positive CHECK (number > 0),
    CONSTRAINT version_price CHECK (price_fen BETWEEN 0 AND 10000000000),
    CONSTRAINT version_sale_window
        CHECK (sale_from IS NULL OR sale_until IS NULL OR sale_from < sale_until),
    CONSTRAINT version_sale_limit CHECK (sale_limit > 0),
    CONSTRAINT version_member_limit CHECK (member_limit > 0),
    CONSTRAINT version_activation CHECK (activation IN ('at_payment', 'auto', 'forfeit', 'refund')),
    CONSTRAINT version_activation_span CHECK (
        (activation = 'at_payment') = (activation_unit IS NULL)
        AND (activation_unit IS NULL) = (activation_count IS NULL)),
    CONSTRAINT version_activation_unit
        CHECK (activation_unit IN ('days', 'months') AND activation_count > 0),
    CONSTRAINT version_start_delay CHECK (start_delay_days >= 0),
    CONSTRAINT version_duration CHECK (duration_unit IN ('days', 'months') AND duration_count > 0),
    CONSTRAINT version_renewal CHECK (renewal_days > 0),
    CONSTRAINT version_published CHECK ((published_as IS NULL) = (published_at IS NULL))
);

-- A pass keeps the version it was sold under, so what was published never changes.
CREATE FUNCTION refuse_published_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a published version never changes'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'version_immutable';
END $$;
CREATE TRIGGER version_immutable BEFORE UPDATE OR DELETE ON product_version
    FOR EACH ROW WHEN (OLD.published_at IS NOT NULL) EXECUTE FUNCTION refuse_published_change();

-- The one hot row of a sale. `held` are passes that await payment, `sold` those ever paid for.
CREATE TABLE product_stock (
    product    uuid PRIMARY KEY REFERENCES product (id),
    sale_limit bigint,
    held       bigint NOT NULL DEFAULT 0,
    sold       bigint NOT NULL DEFAULT 0,
    CONSTRAINT stock_within_limit CHECK (sale_limit IS NULL OR held + sold <= sale_limit),
    CONSTRAINT stock_held CHECK (held >= 0),
    CONSTRAINT stock_sold CHECK (sold >= 0)
) WITH (fillfactor = 10);

-- What one member holds or bought of one product, renewals apart.
CREATE TABLE member_sale (
    product      uuid NOT NULL REFERENCES product (id),
    member       uuid NOT NULL,
    bought       integer NOT NULL,
    -- As it stood at the last purchase.
    member_limit integer,
    PRIMARY KEY (product, member),
    CONSTRAINT member_sale_count CHECK (bought >= 0),
    CONSTRAINT member_sale_within_limit CHECK (member_limit IS NULL OR bought <= member_limit)
) WITH (fillfactor = 80);

CREATE TABLE pass (
    -- The entitlement's id: a keyed hash of the order line, as a signed number.
    id              bigint PRIMARY KEY,
    version         bigint NOT NULL,
    product         uuid NOT NULL,
    product_version integer NOT NULL,
    scope           integer NOT NULL,
    member          uuid NOT NULL,
    order_id        uuid NOT NULL,
    line_id         uuid NOT NULL,
    price_fen       bigint NOT NULL,
    renews          bigint,
    -- The same while this pass may come to something; kept apart from the state, so that a change
    -- of state touches no index.
    renewing        bigint,
    bought_at       timestamptz NOT NULL,
    close_at        timestamptz NOT NULL,
    state           text NOT NULL,
    -- While it awaits payment: held, lapsed (billing was told), refused (it cannot be given).
    hold            text,
    paid_at         timestamptz,
    -- The Shanghai date on which the time to activate it is over.
    activate_by     date,
    -- Shanghai dates, half-open.
    start_date      date,
    end_date        date,
    -- Why it is frozen or voided, in the operator's words.
    reason          text,
    refund          integer NOT NULL DEFAULT 0,
    changed_at      timestamptz NOT NULL,
    CONSTRAINT pass_version FOREIGN KEY (product, product_version)
        REFERENCES product_version (product, number),
    CONSTRAINT pass_order_line UNIQUE (line_id),
    CONSTRAINT pass_order UNIQUE (order_id),
    CONSTRAINT pass_price CHECK (price_fen BETWEEN 0 AND 10000000000),
    CONSTRAINT pass_state CHECK (state IN ('awaiting_payment', 'ready', 'active', 'frozen',
        'refunding', 'refunded', 'voided', 'lapsed', 'forfeited')),
    CONSTRAINT pass_hold CHECK ((state = 'awaiting_payment') = (hold IS NOT NULL)
        AND (hold IS NULL OR hold IN ('held', 'lapsed', 'refused'))),
    CONSTRAINT pass_paid CHECK ((paid_at IS NULL) = (state IN ('awaiting_payment', 'lapsed'))),
    CONSTRAINT pass_window CHECK ((start_date IS NULL) = (end_date IS NULL)
        AND (start_date IS NULL OR start_date < end_date)),
    CONSTRAINT pass_granted CHECK (state NOT IN ('active', 'frozen') OR start_date IS NOT NULL),
    CONSTRAINT pass_not_granted CHECK (state NOT IN ('awaiting_payment', 'ready', 'lapsed',
        'forfeited') OR start_date IS NULL),
    CONSTRAINT pass_ready CHECK (state <> 'ready' OR activate_by IS NOT NULL),
    CONSTRAINT pass_renewing CHECK (renewing = renews),
    CONSTRAINT pass_refund CHECK (refund >= 0 AND (state NOT IN ('refunding', 'refunded')
        OR refund > 0))
) WITH (fillfactor = 70);
CREATE INDEX pass_member ON pass (member, bought_at DESC, id DESC);
-- A pass has one successor; one that came to nothing makes room for another.
CREATE UNIQUE INDEX pass_renewed_once ON pass (renewing) WHERE renewing IS NOT NULL;

CREATE TABLE refund (
    pass           bigint NOT NULL REFERENCES pass (id),
    ordinal        integer NOT NULL,
    -- Names the return to billing: derived from the line and the ordinal.
    return_id      uuid NOT NULL,
    cause          text NOT NULL,
    requested_at   timestamptz NOT NULL,
    state          text NOT NULL,
    -- Admission answers on this number; null when nothing was granted that could be used.
    freeze_version bigint,
    -- Whether admission has answered; its leases may still be open.
    answered       boolean NOT NULL,
    uses           integer,
    fee_fen        bigint,
    refund_fen     bigint,
    -- Why it was refused after the count.
    refusal        text,
    PRIMARY KEY (pass, ordinal),
    CONSTRAINT refund_return UNIQUE (return_id),
    CONSTRAINT refund_cause CHECK (cause IN ('holder', 'not_activated', 'voided')),
    CONSTRAINT refund_state CHECK (state IN ('counting', 'returned', 'done', 'refused')),
    CONSTRAINT refund_counting CHECK (state <> 'counting' OR freeze_version IS NOT NULL),
    CONSTRAINT refund_amount CHECK ((refund_fen IS NULL) = (fee_fen IS NULL)
        AND (state IN ('returned', 'done')) = (refund_fen IS NOT NULL)
        AND refund_fen >= 0 AND fee_fen >= 0),
    CONSTRAINT refund_refusal CHECK ((state = 'refused') = (refusal IS NOT NULL)),
    CONSTRAINT refund_uses CHECK (uses >= 0)
);
CREATE UNIQUE INDEX refund_open_once ON refund (pass) WHERE state IN ('counting', 'returned');

-- Replicas: written by the consumers alone.
CREATE TABLE replica_order (
    id           uuid PRIMARY KEY,
    epoch        bigint NOT NULL,
    version      bigint NOT NULL,
    number       text NOT NULL,
    state        text NOT NULL,
    total_fen    bigint NOT NULL,
    refunded_fen bigint NOT NULL,
    paid_at      timestamptz,
    CONSTRAINT replica_order_state CHECK (state IN ('open', 'paid', 'closed'))
) WITH (fillfactor = 80);

CREATE TABLE replica_venue (
    id            uuid PRIMARY KEY,
    epoch         bigint NOT NULL,
    version       bigint NOT NULL,
    province      smallint NOT NULL,
    name_zh       text NOT NULL,
    name_en       text NOT NULL,
    division      text NOT NULL,
    tags          text[] NOT NULL,
    opening_hours text NOT NULL,
    suspended     boolean NOT NULL,
    tracks_exits  boolean NOT NULL
);
CREATE INDEX replica_venue_named ON replica_venue (name_zh, id);

CREATE TABLE replica_use (
    id       uuid PRIMARY KEY,
    epoch    bigint NOT NULL,
    version  bigint NOT NULL,
    pass     bigint NOT NULL,
    province smallint NOT NULL,
    venue    uuid NOT NULL,
    entry    boolean NOT NULL,
    at       timestamptz NOT NULL,
    date     date NOT NULL,
    persons  integer NOT NULL,
    voided   boolean NOT NULL
);
CREATE INDEX replica_use_pass ON replica_use (pass, at DESC, id DESC);

-- Persons are compared through merges: the rows of a merged member are found by the other one.
CREATE INDEX replica_member_merged ON replica_member (merged_into) WHERE merged_into IS NOT NULL;
