# shellcheck shell=bash
# What the scripts of this folder share: the worlds, their secrets, and messages.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here="$root/deploy/dev"
dev="$root/.dev"
databases="identity passes billing admission"

# shellcheck source=ports.sh
source "$here/ports.sh"

say() { printf '  %s\n' "$*"; }
fail() { printf 'deploy/dev: %s\n' "$*" >&2; exit 1; }
elapsed() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }'; }
secret() { od -An -N18 -tx1 /dev/urandom | tr -d ' \n'; }

# The unions of a world: `run` is both, `test` is one of its own, so that they live side by side;
# load and faults have one union each, since the two share nothing but an exchange.
unions() {
  case "$1" in
    run) echo "50 51" ;;
    test) echo test ;;
    bench | chaos) echo 50 ;;
    *) fail "there is no world '$1': say run, test, bench or chaos" ;;
  esac
}

# Whether the servers of a world are the containers of deploy/compose.yaml, which says so by a file.
compose_has() { [[ $1 == run && -e $dev/run/compose ]]; }

# Passwords are made once per world and kept, the rest follows from the ports.
write_env() {
  local union=$1 folder=$2 old
  old=$(umask)
  umask 077
  if [[ ! -f $folder/secrets ]]; then
    printf '%s\n' "BASHU_PG_SUPERUSER_PASSWORD=$(secret)" "BASHU_PG_OWNER_PASSWORD=$(secret)" \
      "BASHU_PG_APP_PASSWORD=$(secret)" "BASHU_REDIS_PASSWORD=$(secret)" >"$folder/secrets.new"
    mv "$folder/secrets.new" "$folder/secrets"
  fi
  # shellcheck source=/dev/null
  source "$folder/secrets"
  printf '%s\n' "BASHU_UNION=$union" "BASHU_PG_HOST=127.0.0.1" "BASHU_PG_PORT=$pg_port" \
    "BASHU_PG_SUPERUSER=postgres" "BASHU_PG_OWNER=bashu_owner" "BASHU_PG_APP=bashu_app" \
    "BASHU_PG_DATABASES=\"$databases\"" "BASHU_KAFKA_BROKERS=127.0.0.1:$kafka_port" \
    "BASHU_REDIS_URL=redis://:$BASHU_REDIS_PASSWORD@127.0.0.1:$redis_port/0" >"$folder/env.new"
  cat "$folder/secrets" >>"$folder/env.new"
  mv "$folder/env.new" "$folder/env"
  umask "$old"
}
