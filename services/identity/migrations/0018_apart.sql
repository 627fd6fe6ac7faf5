-- The versions in which others may have heard of a wish to be forgotten under this id: her own
-- earlier ones, and those of whoever she was one record with. Her next wish is newer than all of
-- them, or it would be no news to anybody.
ALTER TABLE member
    ADD COLUMN erasure_floor bigint NOT NULL DEFAULT 0 CHECK (erasure_floor >= 0);
-- Those who were made one, or two again, before this was kept.
UPDATE member m SET erasure_floor = heard.version
FROM (
    SELECT p.id, max(e.version) AS version
    FROM member_merge g
    CROSS JOIN LATERAL (VALUES (g.survivor, g.merged), (g.merged, g.survivor)) p (id, other)
    JOIN erasure e ON e.member = p.other
    WHERE g.state IN ('done', 'undone')
    GROUP BY p.id
) heard
WHERE heard.id = m.id;
-- A wish that is under way is asked about anew, in a version that is news.
UPDATE erasure e SET version = m.erasure_floor + 1
FROM member m
WHERE m.id = e.member AND e.ended_at IS NULL AND e.version <= m.erasure_floor;

-- A copy that was begun while a merge could be undone names two records, which may be two people.
DELETE FROM export e USING member_merge g
WHERE g.survivor = e.member AND g.state = 'done'
    AND e.asked_at > g.done_at AND e.asked_at < g.done_at + interval '10 days';

-- Whether a role is held at an instant, which is said here alone: it was not withdrawn, and its end
-- has not come, written down or not. The planner reads through it, to the indexes of what stands.
CREATE FUNCTION role_held(withdrawn_at timestamptz, ends_at timestamptz, now timestamptz)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT $1 IS NULL AND ($2 IS NULL OR $2 > $3)
$$;
