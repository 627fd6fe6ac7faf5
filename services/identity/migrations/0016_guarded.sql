-- What came into the vault after its rows were guarded: see 0010.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['search_term', 'export_part', 'verification', 'network_identity',
        'phone_change'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY vault_serves ON %I TO bashu_app
            USING (true) WITH CHECK (true)', name);
    END LOOP;
END $$;
