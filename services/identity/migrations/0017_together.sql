-- What came apart and meets here. Of a merge: what was verified of the record that goes is known of
-- the one that stays, and goes back with a split.
ALTER TABLE member_merge
    ADD COLUMN verifications uuid[]  NOT NULL DEFAULT '{}',
    ADD COLUMN networks      bytea[] NOT NULL DEFAULT '{}';
-- Which merges name a person: a merge that is open keeps her phone as it is.
CREATE INDEX member_merge_survivor ON member_merge (survivor) WHERE state IN ('asked', 'done');

-- Which rosters name a person: her copy says so, and one that is not over forgets her row with her.
CREATE INDEX roster_row_member ON roster_row (member) WHERE member IS NOT NULL;

-- A person is told that she signs in by another phone.
ALTER TABLE notice
    DROP CONSTRAINT notice_kind_check,
    ADD CONSTRAINT notice_kind_check CHECK (kind IN ('bought', 'activated', 'expiring',
        'cancelled', 'refunded', 'on_roster', 'role_granted', 'new_login', 'login_linked',
        'second_factor_changed', 'export_ready',
        'erasure_held', 'rendering_ready', 'phone_changed'));
