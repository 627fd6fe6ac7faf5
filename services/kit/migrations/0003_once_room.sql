-- A record is written when a request begins and again, a little longer, when it ends: the larger half
-- of each page is left free, so that the second version lies beside the first and touches no index.
ALTER TABLE once SET (fillfactor = 45);
