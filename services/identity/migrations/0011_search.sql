-- What people are found by who are looked for by name: the first 64 bits of a keyed hash of each
-- beginning of the name and of its spelling in letters. The key is outside this database. Who is
-- forgotten is found no more: the rows go with the person's.
CREATE TABLE search_term (
    term   bigint NOT NULL,
    member uuid NOT NULL REFERENCES person (member) ON DELETE CASCADE,
    PRIMARY KEY (term, member)
);
CREATE INDEX search_term_member ON search_term (member);

-- By which rules a person's terms were made; zero: they were not made yet. Due work makes them.
ALTER TABLE person ADD COLUMN search_version smallint NOT NULL DEFAULT 0
    CHECK (search_version >= 0);
CREATE INDEX person_search_version ON person (search_version, member);

-- A search goes through the people below one organisation, or through those of a name.
CREATE INDEX organisation_path ON organisation USING gin (path);
CREATE INDEX membership_open_in ON membership (organisation, member) WHERE until IS NULL;
