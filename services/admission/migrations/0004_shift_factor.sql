-- Whether the person of a shift has shown a second factor for it: asked for once in a shift by what
-- supervisors do at a door. Shifts that are open already have shown none.
ALTER TABLE shift ADD COLUMN second_factor boolean NOT NULL DEFAULT false;
