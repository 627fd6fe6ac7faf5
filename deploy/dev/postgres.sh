# shellcheck shell=bash
# One PostgreSQL cluster of a union: made once, started as an unprivileged user, its roles and
# databases brought up to date at every start. It does not migrate: `bashu migrate` does.

# The newest server of the distribution, or the one on PATH; nothing if there is none.
postgres_bin() {
  local found
  found=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5 -n | tail -1)
  [[ -x $found/initdb ]] || found=$(dirname "$(command -v initdb || echo none)")
  [[ -x $found/initdb ]] && echo "$found"
}

# PostgreSQL refuses to run as root. As root it becomes the user `postgres`; where that user may not
# reach the checkout (say, under /root), the folder is shown to it at /mnt, for this process alone.
as_postgres() {
  local folder=$1 become=(setpriv --reuid=postgres --regid=postgres --init-groups --)
  shift
  if ((EUID != 0)); then
    exec setsid "$@"
  elif "${become[@]}" test -x "$folder"; then
    exec setsid "${become[@]}" "$@"
  fi
  # shellcheck disable=SC2016 # the inner shell expands these
  local map='mount --rbind "$1" /mnt && cd / && shift && exec "$@"'
  exec setsid unshare --mount --propagation private bash -c "$map" _ "$folder" "${become[@]}" \
    "${@//"$folder"//mnt}"
}

postgres_reachable() {
  (as_postgres "$1" test -x "$1") 2>/dev/null || fail "the user 'postgres' may not reach $1," \
    "and this machine does not let root make a private mount. Either run as an ordinary user," \
    "or open the way: chmod o+x on each folder above it"
}

# A first start that was killed leaves no half-made cluster: it gets its name when it is whole, and
# until then its process holds the lock that `up` waits for.
postgres_initialise() {
  local folder=$1
  rm -rf "$folder/fresh"
  (umask 077 && printf '%s' "$BASHU_PG_SUPERUSER_PASSWORD" >"$folder/first-password")
  ((EUID != 0)) || chown postgres: "$folder" "$folder/first-password"
  (as_postgres "$folder" "$bin/initdb" -D "$folder/fresh" --username=postgres --encoding=UTF8 \
    --locale=C.UTF-8 --data-checksums --auth=scram-sha-256 --pwfile="$folder/first-password") \
    >"$folder/initdb.log" 2>&1 || { cat "$folder/initdb.log" >&2; fail "initdb failed"; }
  rm -f "$folder/first-password"
  mv "$folder/fresh" "$folder/data"
}

# A lock left by a crash stops PostgreSQL if its process id now belongs to something else of ours.
postgres_unlock() {
  local pid
  read -r pid 2>/dev/null <"$1" || return 0
  grep -qaz -- "^$pg_port\$" "/proc/$pid/cmdline" 2>/dev/null || rm -f "$1"
}

postgres_start() {
  local union=$1 folder="$2/postgres" from=$EPOCHREALTIME bin buffers=256MB settings=()
  [[ $union == test ]] && buffers=128MB
  bin=$(postgres_bin) || fail "PostgreSQL is not installed: run 'make deps'"
  # As durable as the others: memory, and checkpoints so far apart that a run meets few of them.
  if [[ ${world:-} == bench ]]; then
    buffers=1GB settings=(-c max_wal_size=4GB -c checkpoint_timeout=15min)
    [[ $(ldd "$bin/postgres") != *liblz4* ]] || settings+=(-c wal_compression=lz4)
  fi
  mkdir -p "$folder"
  if ! alive "$folder"; then
    [[ -d $folder/data ]] || { ((EUID != 0)) || chown postgres: "$folder"; }
    postgres_reachable "$folder"
    [[ -d $folder/data ]] || postgres_initialise "$folder"
    cp "$here/postgresql.conf" "$folder/data/postgresql.conf"
    # Of `all` replication is no part: a base backup wants a line of its own.
    printf 'host %s 127.0.0.1/32 scram-sha-256\n' 'all all' 'replication postgres' \
      >"$folder/data/pg_hba.conf"
    postgres_unlock "$folder/data/postmaster.pid"
    detach "$folder" as_postgres "$folder" "$bin/postgres" -D "$folder/data" -p "$pg_port" \
      -c shared_buffers="$buffers" -c shared_preload_libraries="${BASHU_PG_PRELOAD:-}" \
      "${settings[@]}"
  fi
  await "$folder" "PostgreSQL of $union" "$bin/pg_isready" -q -h 127.0.0.1 -p "$pg_port"
  PGPASSWORD=$BASHU_PG_SUPERUSER_PASSWORD "$bin/psql" -qXtA -v ON_ERROR_STOP=1 -h 127.0.0.1 \
    -p "$pg_port" -U postgres -f "$here/roles.sql" >/dev/null
  say "$union PostgreSQL ready on 127.0.0.1:$pg_port ($(elapsed "$from"))"
}
