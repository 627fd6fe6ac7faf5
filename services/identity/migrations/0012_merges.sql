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

-- Memberships that are asked for: by a person for herself, or by an office that lets her go to
-- another organisation. Somebody else than who asked decides.
CREATE TABLE membership_application (
    id           uuid PRIMARY KEY,
    member       uuid NOT NULL REFERENCES member (id),
    organisation uuid NOT NULL REFERENCES organisation (id),
    -- The membership that ends where the new one begins; null: she joins.
    leaves       uuid REFERENCES membership (id),
    asked_by     uuid NOT NULL REFERENCES member (id),
    asked_at     timestamptz NOT NULL,
    state        text NOT NULL
        CHECK (state IN ('waiting', 'approved', 'refused', 'withdrawn', 'expired')),
    decided_by   uuid REFERENCES member (id),
    decided_at   timestamptz,
    -- What came of it.
    membership   uuid REFERENCES membership (id),
    CONSTRAINT membership_application_decided CHECK (
        (state IN ('approved', 'refused', 'withdrawn')) = (decided_by IS NOT NULL)
        AND (decided_by IS NULL) = (decided_at IS NULL)
        AND (state = 'approved') = (membership IS NOT NULL)),
    CONSTRAINT membership_application_by_another CHECK (
        state NOT IN ('approved', 'refused') OR decided_by <> asked_by),
    CONSTRAINT membership_application_hers CHECK (leaves IS NOT NULL OR asked_by = member)
);
CREATE UNIQUE INDEX membership_application_one_waiting
    ON membership_application (member, organisation) WHERE state = 'waiting';
CREATE INDEX membership_application_queue ON membership_application (organisation, asked_at, id)
    WHERE state = 'waiting';
CREATE INDEX membership_application_member ON membership_application (member, asked_at, id);
