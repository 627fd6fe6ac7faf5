-- From when a role is held no more, also before its withdrawal has arrived; none without an end.
ALTER TABLE replica_role ADD COLUMN ends_at timestamptz;
