#!/usr/bin/env bash
# Runs once, when the database is made: a login for each kind of work. Their rights come from `fraudstream roles apply`,
# which the service `setup` runs at every start.
set -euo pipefail

for work in reader reviewer trainer writer; do
  # The password reaches psql through a file: neither a process list nor a log shows it.
  psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" << SQL
\set password \`cat /run/secrets/postgres_$work\`
create role fraudstream_$work nologin;
create role $work login password :'password' in role fraudstream_$work;
SQL
done
