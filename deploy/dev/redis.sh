# shellcheck shell=bash
# One Redis of a union. It keeps nothing on disk: all it holds can be rebuilt, so a restart is also
# the proof that nothing depended on it.

redis_start() {
  local union=$1 folder="$2/redis" from=$EPOCHREALTIME
  command -v redis-server >/dev/null || fail "redis-server is not installed: run 'make deps'"
  mkdir -p "$folder"
  if ! alive "$folder"; then
    redis_configure "$folder"
    detach "$folder" redis_run "$folder"
  fi
  await "$folder" "Redis of $union" redis_answers
  say "$union Redis ready on 127.0.0.1:$redis_port ($(elapsed "$from"))"
}

redis_run() { cd "$1" && exec setsid redis-server "$1/redis.conf"; }

redis_configure() {
  (umask 077 && cat >"$1/redis.conf") <<CONF
bind 127.0.0.1
port $redis_port
requirepass $BASHU_REDIS_PASSWORD
daemonize no
proc-title-template "redis-server {config-file}"
save ""
appendonly no
maxmemory 128mb
maxmemory-policy volatile-ttl
dir .
CONF
}

redis_answers() {
  [[ $(REDISCLI_AUTH=$BASHU_REDIS_PASSWORD redis-cli -h 127.0.0.1 -p "$redis_port" ping) == PONG ]]
}
