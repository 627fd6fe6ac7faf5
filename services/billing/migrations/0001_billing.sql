-- Orders' money: promises to pay, payments and refunds at the provider, and the ledger.
-- All amounts are integer fen.

CREATE SEQUENCE order_number;

CREATE TABLE orders (
    id           uuid PRIMARY KEY,
    version      bigint NOT NULL,
    -- 受理号
    number       text NOT NULL,
    -- One of the two pays.
    member       uuid,
    organisation uuid,
    -- The service whose topic answers to this order's events.
    seller       text NOT NULL,
    revision     bigint NOT NULL,
    content_hash bytea NOT NULL,
    total_fen    bigint NOT NULL,
    paid_fen     bigint NOT NULL DEFAULT 0,
    -- Returns taken on, whether their money has gone back or is on its way.
    returned_fen bigint NOT NULL DEFAULT 0,
    -- Returns whose money has gone back.
    refunded_fen bigint NOT NULL DEFAULT 0,
    state        text NOT NULL,
    -- Why it is being closed, or was.
    closing      text,
    -- Why the seller cannot give what was sold.
    refused      text,
    created_at   timestamptz NOT NULL,
    close_at     timestamptz NOT NULL,
    paid_at      timestamptz,
    closed_at    timestamptz,
    CONSTRAINT order_number_once UNIQUE (number),
    CONSTRAINT order_payer CHECK ((member IS NULL) <> (organisation IS NULL)),
    CONSTRAINT order_state CHECK (state IN ('open', 'paid', 'closed')),
    CONSTRAINT order_closing CHECK (closing IS NULL OR closing IN
        ('expired', 'cancelled', 'hold_lapsed', 'refused')),
    CONSTRAINT order_closed CHECK ((state = 'closed') = (closed_at IS NOT NULL)
        AND (state <> 'closed' OR closing IS NOT NULL)),
    CONSTRAINT order_paid CHECK (state <> 'paid' OR (paid_at IS NOT NULL AND paid_fen = total_fen)),
    CONSTRAINT order_open CHECK (state <> 'open' OR (paid_at IS NULL AND paid_fen = 0)),
    CONSTRAINT order_total CHECK (total_fen BETWEEN 0 AND 10000000000),
    CONSTRAINT order_paid_within_total CHECK (paid_fen IN (0, total_fen)),
    CONSTRAINT order_returned_within_paid CHECK (returned_fen BETWEEN 0 AND paid_fen),
    CONSTRAINT order_refunded_within_returned CHECK (refunded_fen BETWEEN 0 AND returned_fen)
) WITH (fillfactor = 70);
CREATE INDEX orders_member ON orders (member, created_at DESC, id DESC) WHERE member IS NOT NULL;
CREATE INDEX orders_open ON orders (close_at) WHERE state = 'open';

CREATE TABLE order_line (
    id           uuid PRIMARY KEY,
    order_id     uuid NOT NULL REFERENCES orders (id),
    ordinal      integer NOT NULL,
    -- Whom the line is for.
    member       uuid NOT NULL,
    item         text NOT NULL,
    product      uuid NOT NULL,
    entitlement  bigint NOT NULL,
    title_zh     text NOT NULL,
    title_en     text NOT NULL,
    price_fen    bigint NOT NULL,
    returned_fen bigint NOT NULL DEFAULT 0,
    CONSTRAINT order_line_place UNIQUE (order_id, ordinal),
    CONSTRAINT order_line_price CHECK (price_fen BETWEEN 0 AND 10000000000),
    CONSTRAINT order_line_returned CHECK (returned_fen BETWEEN 0 AND price_fen)
) WITH (fillfactor = 80);

-- Who pays how much of a line, and from which source.
CREATE TABLE line_share (
    line               uuid NOT NULL REFERENCES order_line (id),
    ordinal            integer NOT NULL,
    source             text NOT NULL,
    payer_member       uuid,
    payer_organisation uuid,
    fen                bigint NOT NULL,
    pay_by             timestamptz NOT NULL,
    state              text NOT NULL,
    returned_fen       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (line, ordinal),
    CONSTRAINT line_share_source CHECK (source IN ('self', 'dues', 'union_funds', 'employer')),
    CONSTRAINT line_share_payer CHECK
        ((payer_member IS NULL) <> (payer_organisation IS NULL)),
    CONSTRAINT line_share_fen CHECK (fen BETWEEN 0 AND 10000000000),
    CONSTRAINT line_share_state CHECK (state IN ('open', 'paid', 'released')),
    CONSTRAINT line_share_returned CHECK (returned_fen BETWEEN 0 AND fen
        AND (returned_fen = 0 OR state = 'paid'))
) WITH (fillfactor = 80);

-- What a seller said of an order that has not arrived here yet.
CREATE TABLE early_return (
    return_id  uuid PRIMARY KEY,
    order_id   uuid NOT NULL,
    line_id    uuid NOT NULL,
    refund_fen bigint NOT NULL,
    seller     text NOT NULL
);
CREATE INDEX early_return_order ON early_return (order_id);
CREATE TABLE early_end (
    order_id uuid NOT NULL,
    kind     text NOT NULL,
    reason   text NOT NULL,
    seller   text NOT NULL,
    PRIMARY KEY (order_id, kind),
    CONSTRAINT early_end_kind CHECK (kind IN ('hold_lapsed', 'refused'))
);

CREATE TABLE payment (
    id             uuid PRIMARY KEY,
    order_id       uuid NOT NULL REFERENCES orders (id),
    payer          uuid NOT NULL,
    method         text NOT NULL,
    fen            bigint NOT NULL,
    -- Our number at the provider.
    out_trade_no   text NOT NULL,
    state          text NOT NULL,
    code_url       text,
    -- The provider's code when it did not take the order.
    failure        text,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    prepared_at    timestamptz,
    ended_at       timestamptz,
    CONSTRAINT payment_out_trade_no UNIQUE (out_trade_no),
    CONSTRAINT payment_method CHECK (method IN ('wechat_native')),
    CONSTRAINT payment_fen CHECK (fen BETWEEN 1 AND 10000000000),
    CONSTRAINT payment_state CHECK (state IN
        ('preparing', 'waiting', 'succeeded', 'late', 'closed', 'failed')),
    CONSTRAINT payment_code CHECK (state <> 'waiting' OR
        (code_url IS NOT NULL AND prepared_at IS NOT NULL)),
    CONSTRAINT payment_ended CHECK ((state IN ('preparing', 'waiting')) = (ended_at IS NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX payment_open_once ON payment (order_id)
    WHERE state IN ('preparing', 'waiting');
CREATE UNIQUE INDEX payment_succeeded_once ON payment (order_id) WHERE state = 'succeeded';
CREATE INDEX payment_order ON payment (order_id, created_at);

-- Money that came: one row for each transaction of the provider, for ever.
CREATE TABLE receipt (
    transaction_id text PRIMARY KEY,
    out_trade_no   text NOT NULL,
    payment        uuid REFERENCES payment (id),
    order_id       uuid REFERENCES orders (id),
    -- What it turned out to be: for its order, or to be given back.
    kind           text NOT NULL,
    fen            bigint NOT NULL,
    returned_fen   bigint NOT NULL DEFAULT 0,
    refunded_fen   bigint NOT NULL DEFAULT 0,
    -- How we learnt of it.
    learnt_by      text NOT NULL,
    paid_at        timestamptz NOT NULL,
    booked_at      timestamptz NOT NULL,
    CONSTRAINT receipt_kind CHECK (kind IN ('order', 'late', 'mismatch', 'unknown')),
    CONSTRAINT receipt_learnt_by CHECK (learnt_by IN ('notification', 'query', 'bill')),
    CONSTRAINT receipt_fen CHECK (fen > 0),
    CONSTRAINT receipt_returned_within_fen CHECK (returned_fen BETWEEN 0 AND fen),
    CONSTRAINT receipt_refunded_within_returned CHECK (refunded_fen BETWEEN 0 AND returned_fen),
    CONSTRAINT receipt_payment CHECK ((kind = 'unknown') = (payment IS NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX receipt_for_order_once ON receipt (order_id) WHERE kind = 'order';
CREATE INDEX receipt_out_trade_no ON receipt (out_trade_no);
CREATE INDEX receipt_paid_at ON receipt (paid_at);

CREATE TABLE refund (
    -- The seller's return id, or derived from what caused it.
    id             uuid PRIMARY KEY,
    order_id       uuid REFERENCES orders (id),
    -- Null when there is nothing to give back.
    transaction_id text REFERENCES receipt (transaction_id),
    cause          text NOT NULL,
    fen            bigint NOT NULL,
    state          text NOT NULL,
    -- Grows when the provider closed a refund and it is asked for again under another number.
    attempt        integer NOT NULL DEFAULT 1,
    out_refund_no  text NOT NULL,
    refund_id      text,
    -- The provider's code when it does not go on by itself.
    problem        text,
    requested_at   timestamptz NOT NULL,
    accepted_at    timestamptz,
    done_at        timestamptz,
    CONSTRAINT refund_out_refund_no UNIQUE (out_refund_no),
    CONSTRAINT refund_cause CHECK (cause IN
        ('returned', 'refused', 'late', 'mismatch', 'unknown')),
    CONSTRAINT refund_state CHECK (state IN
        ('requested', 'processing', 'abnormal', 'given_up', 'done')),
    CONSTRAINT refund_fen CHECK (fen >= 0 AND (fen = 0) = (transaction_id IS NULL)),
    CONSTRAINT refund_done CHECK ((state = 'done') = (done_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX refund_order ON refund (order_id, requested_at);
CREATE INDEX refund_transaction ON refund (transaction_id);
CREATE INDEX refund_accepted_at ON refund (accepted_at);

CREATE TABLE refund_line (
    refund uuid NOT NULL REFERENCES refund (id),
    line   uuid NOT NULL REFERENCES order_line (id),
    fen    bigint NOT NULL,
    PRIMARY KEY (refund, line),
    CONSTRAINT refund_line_fen CHECK (fen >= 0)
);

-- Notifications whose signature verified: their essentials, never the payer.
CREATE TABLE notice (
    body_hash      bytea PRIMARY KEY,
    notice_id      text NOT NULL,
    event_type     text NOT NULL,
    out_trade_no   text,
    transaction_id text,
    out_refund_no  text,
    fen            bigint,
    currency       text,
    outcome        text NOT NULL,
    times          integer NOT NULL DEFAULT 1,
    first_at       timestamptz NOT NULL,
    last_at        timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX notice_out_trade_no ON notice (out_trade_no);

-- What somebody must look at, until it is explained.
CREATE TABLE discrepancy (
    id           uuid PRIMARY KEY,
    kind         text NOT NULL,
    -- A transaction id, refund or its number, notification's id, day, or day and line of its bill.
    subject      text NOT NULL,
    bill_date    date,
    order_id     uuid,
    ours_fen     bigint,
    theirs_fen   bigint,
    detail       text NOT NULL,
    state        text NOT NULL DEFAULT 'open',
    explanation  text,
    found_at     timestamptz NOT NULL,
    explained_at timestamptz,
    CONSTRAINT discrepancy_once UNIQUE (kind, subject),
    CONSTRAINT discrepancy_kind CHECK (kind IN ('amount_differs', 'currency_differs',
        'merchant_differs', 'unknown_order', 'missing_here', 'missing_there', 'state_differs',
        'late_payment', 'refund_stuck', 'transaction_reused', 'bill_row_unreadable',
        'bill_summary_differs', 'bill_unreadable', 'fee_differs')),
    CONSTRAINT discrepancy_state CHECK (state IN ('open', 'explained')),
    CONSTRAINT discrepancy_explained CHECK
        ((state = 'explained') = (explained_at IS NOT NULL AND explanation IS NOT NULL))
);
CREATE INDEX discrepancy_date ON discrepancy (bill_date) WHERE bill_date IS NOT NULL;
CREATE INDEX discrepancy_open ON discrepancy (found_at DESC, id DESC) WHERE state = 'open';

CREATE TABLE reconciliation (
    date         date PRIMARY KEY,
    state        text NOT NULL,
    runs         integer NOT NULL DEFAULT 0,
    -- The bill's own hash; null when the provider had none for the day.
    bill_sha1    text,
    rows         integer NOT NULL DEFAULT 0,
    matched      integer NOT NULL DEFAULT 0,
    differences  integer NOT NULL DEFAULT 0,
    paid_fen     bigint NOT NULL DEFAULT 0,
    refunded_fen bigint NOT NULL DEFAULT 0,
    fee_fen      bigint NOT NULL DEFAULT 0,
    asked_at     timestamptz NOT NULL,
    ran_at       timestamptz,
    CONSTRAINT reconciliation_state CHECK (state IN ('running', 'clean', 'differences')),
    CONSTRAINT reconciliation_ran CHECK (state = 'running' OR ran_at IS NOT NULL)
);

-- The chart of accounts; CHART_OF_ACCOUNTS.md explains each.
CREATE TABLE account (
    code text PRIMARY KEY,
    kind text NOT NULL,
    zh   text NOT NULL,
    en   text NOT NULL,
    CONSTRAINT account_kind CHECK (kind IN ('asset', 'liability', 'expense'))
);
INSERT INTO account (code, kind, zh, en) VALUES
    ('bank',            'asset',     '银行存款',           'Bank'),
    ('wechat_clearing', 'asset',     '微信支付待清算',     'WeChat Pay clearing'),
    ('prepaid',         'liability', '预收款',             'Received for open orders'),
    ('deferred',        'liability', '待结算款（已售未结）', 'Sold, not yet settled'),
    ('refunds_payable', 'liability', '应退款',             'Refunds payable'),
    ('suspense',        'liability', '差错待处理款',       'Suspense'),
    ('provider_fees',   'expense',   '支付手续费',         'Provider fees');

-- The ledger: what moved, once for each cause. Balanced by construction.
CREATE TABLE transfer (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cause    text NOT NULL,
    debit    text NOT NULL REFERENCES account (code),
    credit   text NOT NULL REFERENCES account (code),
    fen      bigint NOT NULL,
    order_id uuid,
    at       timestamptz NOT NULL,
    CONSTRAINT transfer_cause_once UNIQUE (cause),
    CONSTRAINT transfer_fen CHECK (fen > 0),
    CONSTRAINT transfer_two_accounts CHECK (debit <> credit)
);
CREATE INDEX transfer_order ON transfer (order_id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is only added to' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER transfer_is_added_to BEFORE UPDATE OR DELETE ON transfer
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE VIEW account_balance AS
    SELECT a.code, a.kind, a.zh, a.en,
        COALESCE(d.fen, 0)::bigint AS debit_fen, COALESCE(c.fen, 0)::bigint AS credit_fen
    FROM account a
    LEFT JOIN (SELECT debit AS code, sum(fen) AS fen FROM transfer GROUP BY 1) d USING (code)
    LEFT JOIN (SELECT credit AS code, sum(fen) AS fen FROM transfer GROUP BY 1) c USING (code);

-- What happened to an order, for people.
CREATE TABLE order_step (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id uuid NOT NULL REFERENCES orders (id),
    at       timestamptz NOT NULL,
    code     text NOT NULL,
    fen      bigint
);
CREATE INDEX order_step_order ON order_step (order_id, id);

-- Persons are compared through merges.
CREATE INDEX replica_member_merged ON replica_member (merged_into) WHERE merged_into IS NOT NULL;
