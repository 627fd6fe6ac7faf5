-- Whose word a membership rests on: an office answers for a person, and may see her unmasked, only
-- where it knew her document or she asked for the membership herself. Who is named by a name and a
-- phone alone may be anybody's member.
ALTER TABLE membership
    ADD COLUMN ground text NOT NULL DEFAULT 'name'
        CHECK (ground IN ('name', 'document', 'herself', 'before'));
-- What is from before this was kept counts where nobody else had added her earlier.
UPDATE membership SET ground = 'before' WHERE id IN (
    SELECT DISTINCT ON (member) id FROM membership ORDER BY member, created_at, id);
UPDATE membership SET ground = 'herself' WHERE id IN (
    SELECT membership FROM membership_application
    WHERE membership IS NOT NULL AND member IN (asked_by, decided_by));
CREATE INDEX membership_by_name ON membership (organisation)
    WHERE ground = 'name' AND until IS NULL;

-- The phones that a person had: what could take her over is told to them too for a while. Sealed
-- under her data key as it was while she signed in by it.
CREATE TABLE former_phone (
    -- As the way to sign in had it.
    id      uuid PRIMARY KEY,
    member  uuid NOT NULL REFERENCES member (id),
    subject bytea NOT NULL,
    blind   bytea NOT NULL CHECK (octet_length(blind) = 32),
    until   timestamptz NOT NULL
);
CREATE INDEX former_phone_member ON former_phone (member);
CREATE INDEX former_phone_until ON former_phone (until);
ALTER TABLE former_phone ENABLE ROW LEVEL SECURITY;
ALTER TABLE former_phone FORCE ROW LEVEL SECURITY;
CREATE POLICY vault_serves ON former_phone TO bashu_app USING (true) WITH CHECK (true);

-- What protects a person goes by SMS whatever she has agreed to; what is only news does not.
ALTER TABLE notice
    DROP CONSTRAINT notice_kind_check,
    ADD CONSTRAINT notice_kind_check CHECK (kind IN ('bought', 'activated', 'expiring',
        'cancelled', 'refunded', 'on_roster', 'role_granted', 'new_login', 'login_linked',
        'second_factor_changed', 'export_ready',
        'erasure_held', 'rendering_ready', 'phone_changed', 'right_used', 'records_changed',
        'unmasked')),
    DROP CONSTRAINT notice_sms_kinds,
    ADD CONSTRAINT notice_sms_kinds CHECK (sms = 'none'
        OR kind IN ('cancelled', 'refunded', 'phone_changed', 'right_used'));
