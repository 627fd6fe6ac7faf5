-- Roles and databases of one union; safe to run at every start. `bashu_owner` owns the databases
-- and migrates; `bashu_app` serves and may not change a table's shape. Passwords and names come
-- from the environment.
\getenv owner_password BASHU_PG_OWNER_PASSWORD
\getenv app_password BASHU_PG_APP_PASSWORD
\getenv databases BASHU_PG_DATABASES
\getenv union BASHU_UNION

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY['bashu_owner', 'bashu_app']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- A test makes a template database and a copy of it for each case.
SELECT :'union' = 'test' AS may_create \gset
\if :may_create
ALTER ROLE bashu_owner LOGIN CREATEDB PASSWORD :'owner_password';
\else
ALTER ROLE bashu_owner LOGIN NOCREATEDB PASSWORD :'owner_password';
\endif
ALTER ROLE bashu_app LOGIN NOCREATEDB PASSWORD :'app_password';

-- In template1, so that every database made later, a test's too, starts with these rights.
\connect template1
ALTER DEFAULT PRIVILEGES FOR ROLE bashu_owner GRANT USAGE ON SCHEMAS TO bashu_app;
ALTER DEFAULT PRIVILEGES FOR ROLE bashu_owner
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bashu_app;
ALTER DEFAULT PRIVILEGES FOR ROLE bashu_owner GRANT USAGE, SELECT ON SEQUENCES TO bashu_app;
\connect postgres

SELECT format('CREATE DATABASE %I OWNER bashu_owner', name)
FROM unnest(string_to_array(:'databases', ' ')) AS name
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
