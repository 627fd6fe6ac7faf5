-- From when a role is held no more, also before its withdrawal has arrived; none when it has no end.
ALTER TABLE replica_role ADD COLUMN ends_at timestamptz;
