-- What identity says of persons who asked to be forgotten. Written by kit's consumer alone; what
-- begins something for a person reads it under her lock.
CREATE TABLE replica_erasure (
    member       uuid PRIMARY KEY,
    epoch        bigint NOT NULL,
    version      bigint NOT NULL,
    state        text NOT NULL CHECK (state IN ('open', 'closing', 'erased')),
    -- When this service forgot her.
    forgotten_at timestamptz,
    CONSTRAINT replica_erasure_forgotten
        CHECK ((state = 'erased') = (forgotten_at IS NOT NULL))
);
