-- What identity publishes of consents. Written by kit's consumer alone.
CREATE TABLE replica_consent (
    id           uuid PRIMARY KEY,
    epoch        bigint NOT NULL,
    version      bigint NOT NULL,
    member       uuid NOT NULL,
    purpose      text NOT NULL,
    recipient    text NOT NULL,
    text_version integer NOT NULL,
    given        boolean NOT NULL
);
CREATE UNIQUE INDEX replica_consent_once ON replica_consent (member, purpose, recipient);
-- The same by entitlement, for those who are not told whose one is.
CREATE TABLE replica_entitlement_consent (
    entitlement  bigint NOT NULL,
    purpose      text NOT NULL,
    recipient    text NOT NULL,
    epoch        bigint NOT NULL,
    version      bigint NOT NULL,
    text_version integer NOT NULL,
    given        boolean NOT NULL,
    PRIMARY KEY (entitlement, purpose, recipient)
);
-- Which versions of the texts there are, and from when each is asked for. None ever changes.
CREATE TABLE replica_consent_text (
    purpose        text NOT NULL,
    recipient      text NOT NULL,
    version        integer NOT NULL,
    effective_from timestamptz NOT NULL,
    PRIMARY KEY (purpose, recipient, version)
);
