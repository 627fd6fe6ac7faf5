-- How many lists of holders an officer asked for on a Shanghai day. Who is on one is kept nowhere
-- here: the rows go to identity, which knows the names, and are forgotten there.
CREATE TABLE holder_list_count (
    asker uuid NOT NULL,
    day   date NOT NULL,
    asked integer NOT NULL CHECK (asked > 0),
    PRIMARY KEY (asker, day)
);
-- The members of an organisation are found by it.
CREATE INDEX replica_membership_organisation ON replica_membership (organisation);
