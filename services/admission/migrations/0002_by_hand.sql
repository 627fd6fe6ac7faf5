-- A door at which nobody stands: where staff must look at somebody, it asks and does not open.
ALTER TABLE gate ADD COLUMN unattended boolean NOT NULL DEFAULT false;

-- How many persons the entitlement was for at that moment; null for what was not judged, and for
-- what was written before this was kept. Nobody by hand lets in more either.
ALTER TABLE redemption ADD COLUMN persons_allowed integer;
ALTER TABLE redemption ADD CONSTRAINT redemption_persons_allowed CHECK (
    persons_allowed IS NULL OR decision <> 'admit' OR direction <> 'entry'
    OR persons <= persons_allowed);

-- Nearly every scan overrides nothing: only what does stands in the index.
ALTER TABLE redemption DROP CONSTRAINT redemption_override_once;
CREATE UNIQUE INDEX redemption_override_once ON redemption (overrides)
    WHERE overrides IS NOT NULL;

-- One index answers how often an entitlement was used where and when, and which admissions it
-- has: a scan writes one entry, and a denial none.
DROP INDEX redemption_history;
DROP INDEX redemption_of_entitlement;
CREATE INDEX redemption_of_entitlement ON redemption (entitlement, venue, counted_on)
    INCLUDE (persons, direction, voided_at) WHERE decision = 'admit';
