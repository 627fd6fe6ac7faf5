-- A correction of what is known of a membership, until somebody else has looked at it: what was
-- decided on the dates before may have to be decided again.
CREATE TABLE membership_review (
    id           uuid PRIMARY KEY,
    membership   uuid NOT NULL REFERENCES membership (id),
    -- The version of the membership that the correction made.
    version      bigint NOT NULL CHECK (version > 1),
    reason       text NOT NULL CHECK (reason IN ('entry_error', 'late_evidence', 'decision')),
    since_before date NOT NULL,
    until_before date,
    since_after  date NOT NULL,
    until_after  date,
    corrected_by uuid NOT NULL REFERENCES member (id),
    created_at   timestamptz NOT NULL,
    closed_by    uuid REFERENCES member (id),
    closed_at    timestamptz,
    CONSTRAINT membership_review_closed CHECK ((closed_by IS NULL) = (closed_at IS NULL)),
    CONSTRAINT membership_review_by_another CHECK (closed_by <> corrected_by),
    CONSTRAINT membership_review_corrects CHECK (since_before <> since_after
        OR until_before IS DISTINCT FROM until_after)
);
CREATE UNIQUE INDEX membership_review_version ON membership_review (membership, version);
CREATE INDEX membership_review_open ON membership_review (created_at, id)
    WHERE closed_at IS NULL;
