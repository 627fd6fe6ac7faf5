-- Reviews that were opened before they had a timer get one: due when they are overdue, seven days
-- after they were opened. Elsewhere a timer's id follows from what it is for; here it is the
-- review's, which is no timer's.
INSERT INTO due (id, kind, subject, payload, run_at, created_at)
SELECT id, 'review', id::text, '{}', created_at + interval '7 days', now()
FROM membership_review WHERE closed_at IS NULL
ON CONFLICT (kind, subject, ordinal) DO NOTHING;
