-- Two records that are of one person: asked for by one operator, done by another one, and undone
-- within a window. Rows elsewhere keep the id they were written with.
CREATE TABLE member_merge (
    id          uuid PRIMARY KEY,
    survivor    uuid NOT NULL REFERENCES member (id),
    merged      uuid NOT NULL REFERENCES member (id),
    state       text NOT NULL CHECK (state IN ('asked', 'done', 'undone', 'expired')),
    asked_by    uuid NOT NULL REFERENCES member (id),
    asked_at    timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    done_by     uuid REFERENCES member (id),
    done_at     timestamptz,
    undone_by   uuid REFERENCES member (id),
    undone_at   timestamptz,
    -- What went over to the survivor, so that it goes back.
    documents   uuid[] NOT NULL DEFAULT '{}',
    methods     uuid[] NOT NULL DEFAULT '{}',
    memberships uuid[] NOT NULL DEFAULT '{}',
    CONSTRAINT member_merge_two_records CHECK (survivor <> merged),
    CONSTRAINT member_merge_by_two CHECK (done_by <> asked_by),
    CONSTRAINT member_merge_of_others CHECK (asked_by NOT IN (survivor, merged)
        AND done_by NOT IN (survivor, merged)),
    CONSTRAINT member_merge_done CHECK ((state IN ('done', 'undone')) = (done_at IS NOT NULL)
        AND (done_at IS NULL) = (done_by IS NULL)),
    CONSTRAINT member_merge_undone CHECK ((state = 'undone') = (undone_at IS NOT NULL)
        AND (undone_at IS NULL) = (undone_by IS NULL))
);
CREATE UNIQUE INDEX member_merge_one_open ON member_merge (merged)
    WHERE state IN ('asked', 'done');
CREATE INDEX member_merged_into ON member (merged_into) WHERE merged_into IS NOT NULL;
