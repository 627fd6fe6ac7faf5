-- How often the code of a pass was issued again: codes of a lower generation open nothing.
ALTER TABLE pass ADD COLUMN generation smallint NOT NULL DEFAULT 0;
ALTER TABLE pass ADD CONSTRAINT pass_generation CHECK (generation BETWEEN 0 AND 255);

CREATE TABLE reissue (
    pass       bigint NOT NULL REFERENCES pass (id),
    generation smallint NOT NULL,
    at         timestamptz NOT NULL,
    PRIMARY KEY (pass, generation),
    CONSTRAINT reissue_generation CHECK (generation BETWEEN 1 AND 255)
);
