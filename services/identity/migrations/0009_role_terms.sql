-- A powerful role that one person proposes and another confirms: two persons, and neither is who is
-- to hold it.
CREATE TABLE role_proposal (
    id           uuid PRIMARY KEY,
    member       uuid NOT NULL REFERENCES member (id),
    organisation uuid NOT NULL REFERENCES organisation (id),
    role         text NOT NULL CHECK (role IN ('approver', 'deputy', 'operator')),
    ends_at      timestamptz NOT NULL,
    proposed_by  uuid NOT NULL REFERENCES member (id),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    state        text NOT NULL CHECK (state IN ('open', 'confirmed', 'withdrawn', 'expired')),
    -- Who confirmed it or took it back.
    decided_by   uuid REFERENCES member (id),
    decided_at   timestamptz,
    CONSTRAINT role_proposal_decided CHECK
        ((state IN ('confirmed', 'withdrawn')) = (decided_by IS NOT NULL)
         AND (decided_by IS NULL) = (decided_at IS NULL)),
    CONSTRAINT role_proposal_of_another CHECK (proposed_by <> member),
    CONSTRAINT role_proposal_by_two CHECK
        (state <> 'confirmed' OR (decided_by <> proposed_by AND decided_by <> member))
);
CREATE UNIQUE INDEX role_proposal_one_open ON role_proposal (member, organisation, role)
    WHERE state = 'open';
CREATE INDEX role_proposal_open ON role_proposal (created_at, id) WHERE state = 'open';

-- From when a role is held no more, whether or not anybody has withdrawn it by then, and how it
-- came to be. Roles of before have no end, and nobody knows any more who gave them.
ALTER TABLE role
    ADD COLUMN ends_at  timestamptz,
    ADD COLUMN origin   text NOT NULL DEFAULT 'before'
        CHECK (origin IN ('before', 'machine', 'one', 'two')),
    ADD COLUMN proposal uuid REFERENCES role_proposal (id),
    DROP CONSTRAINT role_role_check,
    ADD CONSTRAINT role_role_check CHECK (role IN ('officer', 'approver', 'deputy', 'auditor',
        'venue_staff', 'venue_manager', 'operator')),
    ADD CONSTRAINT role_proposal_names_two CHECK ((origin = 'two') = (proposal IS NOT NULL)),
    ADD CONSTRAINT role_powerful_by_two CHECK
        (origin <> 'one' OR role NOT IN ('approver', 'deputy', 'operator'));

UPDATE role SET origin = 'machine' WHERE role = 'operator' AND member::text IN
    (SELECT subject FROM audit WHERE act = 'create_first_operator');

CREATE OR REPLACE VIEW replica_role AS
    SELECT id, 1::bigint AS epoch, version, member, organisation, role,
           withdrawn_at IS NOT NULL AS withdrawn, ends_at
    FROM role;
