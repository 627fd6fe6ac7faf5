-- Files that other services asked for because they show names. What is kept are ids and the cells
-- that came with them; names are looked up when the file is fetched, and stand in no row.
CREATE TABLE rendering (
    -- Minted by the service that asks.
    id           uuid PRIMARY KEY,
    version      bigint NOT NULL CHECK (version > 0),
    service      text NOT NULL,
    template     text NOT NULL CHECK (template IN ('signed_receipts')),
    about        uuid NOT NULL,
    -- Who may fetch it, and over which organisation she must be an officer then.
    asker        uuid NOT NULL REFERENCES member (id),
    organisation uuid NOT NULL REFERENCES organisation (id),
    title        text NOT NULL,
    state        text NOT NULL CHECK (state IN ('ready', 'refused', 'fetched', 'expired')),
    -- Why it was refused.
    problem      text CHECK (problem IN ('not_an_officer', 'strangers', 'too_large')),
    -- {"columns": […], "rows": [{"member": …, "cells": […]}]}; gone when it is over.
    content      jsonb,
    asked_at     timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL CHECK (expires_at > asked_at),
    CONSTRAINT rendering_refused CHECK ((state = 'refused') = (problem IS NOT NULL)),
    CONSTRAINT rendering_content CHECK ((state = 'ready') = (content IS NOT NULL))
);
CREATE INDEX rendering_asker ON rendering (asker, asked_at DESC);
-- An address that gives the file, once. The address itself is kept nowhere.
CREATE TABLE rendering_address (
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    rendering  uuid NOT NULL REFERENCES rendering (id) ON DELETE CASCADE,
    login      uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX rendering_address_rendering ON rendering_address (rendering);
CREATE INDEX rendering_address_expires_at ON rendering_address (expires_at);

ALTER TABLE notice
    DROP CONSTRAINT notice_kind_check,
    ADD CONSTRAINT notice_kind_check CHECK (kind IN ('bought', 'activated', 'expiring',
        'cancelled', 'refunded', 'on_roster', 'role_granted', 'new_login', 'login_linked',
        'second_factor_changed', 'export_ready',
        'erasure_held', 'rendering_ready'));
