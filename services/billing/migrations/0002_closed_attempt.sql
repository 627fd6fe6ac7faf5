-- A refund's attempts that the provider closed: each had a number of its own there, which the bill
-- of its day may list.
CREATE TABLE closed_attempt (
    refund        uuid NOT NULL REFERENCES refund (id),
    attempt       integer NOT NULL,
    out_refund_no text NOT NULL,
    accepted_at   timestamptz NOT NULL,
    PRIMARY KEY (refund, attempt),
    CONSTRAINT closed_attempt_out_refund_no UNIQUE (out_refund_no),
    CONSTRAINT closed_attempt_number CHECK (attempt > 0)
);
CREATE INDEX closed_attempt_accepted_at ON closed_attempt (accepted_at);

-- What a person has explained stays so while nothing else is told of it.
ALTER TABLE discrepancy ADD COLUMN by_hand boolean NOT NULL DEFAULT false;

-- A late payment is an everyday thing that goes back by itself; a refund that the provider tells
-- of otherwise than we know it is for a person.
ALTER TABLE discrepancy DROP CONSTRAINT discrepancy_kind;
ALTER TABLE discrepancy ADD CONSTRAINT discrepancy_kind CHECK (kind IN ('amount_differs',
    'currency_differs', 'merchant_differs', 'unknown_order', 'missing_here', 'missing_there',
    'state_differs', 'refund_stuck', 'refund_notice_differs', 'transaction_reused',
    'bill_row_unreadable', 'bill_summary_differs', 'bill_unreadable', 'fee_differs'));
