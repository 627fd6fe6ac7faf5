-- Who was forgotten is found by nothing that stayed: of her merges, the keyed hashes of what was
-- verified of a record that went over; of claims to her record, the hash of her document beside an
-- address. Claims of today are counted anew.
UPDATE member_merge g SET networks = '{}'
FROM member m
WHERE m.state = 'erased' AND m.id IN (g.survivor, g.merged) AND g.networks <> '{}';
DELETE FROM attempt WHERE scope = 'recovery_document_day';

-- What is sealed of a person, or finds her, in tables that were not guarded yet: see 0010.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['attempt', 'login', 'login_code', 'login_ticket', 'member_merge',
        'oidc_request', 'phone_code', 'roster'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY vault_serves ON %I TO bashu_app
            USING (true) WITH CHECK (true)', name);
    END LOOP;
END $$;
-- A view reads as its owner, who sees no login any more. This one reads as whoever asks, or no
-- login would count as withdrawn.
ALTER VIEW replica_withdrawn_login SET (security_invoker = true);
