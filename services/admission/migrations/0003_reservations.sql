-- The visits that are reserved: of each the venue (16 bytes), its first minute and the first one
-- after it (4 bytes each, big-endian, as the window), by time.
ALTER TABLE entitlement ADD COLUMN reservations bytea NOT NULL DEFAULT '';
ALTER TABLE entitlement ADD CONSTRAINT entitlement_reservations
    CHECK (octet_length(reservations) % 24 = 0);
