-- Whether a version's rules admit nobody without a reservation, as its `rules` say.
ALTER TABLE product_version ADD COLUMN reservation boolean NOT NULL DEFAULT false;

-- The places of a venue on a Shanghai day: the one hot row of its reservations.
CREATE TABLE visit_day (
    venue uuid NOT NULL,
    date  date NOT NULL,
    open  integer NOT NULL,
    taken integer NOT NULL DEFAULT 0,
    PRIMARY KEY (venue, date),
    CONSTRAINT visit_day_open CHECK (open BETWEEN 0 AND 1000000),
    CONSTRAINT visit_day_taken CHECK (taken >= 0),
    CONSTRAINT visit_day_within_places CHECK (taken <= open)
) WITH (fillfactor = 50);

CREATE TABLE reservation (
    id       uuid PRIMARY KEY,
    pass     bigint NOT NULL REFERENCES pass (id),
    venue    uuid NOT NULL,
    date     date NOT NULL,
    -- held: also after the day; cancelled by its holder; released with a pass that ended.
    state    text NOT NULL,
    made_at  timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT reservation_day FOREIGN KEY (venue, date) REFERENCES visit_day (venue, date),
    CONSTRAINT reservation_state CHECK (state IN ('held', 'cancelled', 'released')),
    CONSTRAINT reservation_end CHECK ((state = 'held') = (ended_at IS NULL))
);
-- One pass takes one place of a day.
CREATE UNIQUE INDEX reservation_once ON reservation (pass, venue, date) WHERE state = 'held';
CREATE INDEX reservation_of_pass ON reservation (pass, date) WHERE state = 'held';
CREATE INDEX reservation_cancelled ON reservation (pass, ended_at) WHERE state = 'cancelled';

-- A supervisor let the person in against the rules.
ALTER TABLE replica_use ADD COLUMN overridden boolean NOT NULL DEFAULT false;
