# shellcheck shell=bash
# Which ports a world's servers listen on, all on loopback, and how they are moved.

# Ports end in the union's number, a test's in 59; BASHU_PORT_OFFSET moves them all.
ports() {
  local tail=$1
  [[ $tail == test ]] && tail=59
  tail=$((10#$tail + offset))
  pg_port=$((15400 + tail)) redis_port=$((16400 + tail))
  kafka_port=$((19400 + tail)) controller_port=$((19500 + tail))
}

# Worlds with a union of the same number stand a few ports apart.
usual_offset() {
  case "$1" in
    bench) echo 5 ;;
    chaos) echo 7 ;;
    *) echo 0 ;;
  esac
}

# A world keeps the offset it was made with, since the broker's log remembers its own address.
settle_offset() {
  local made="$dev/$1/offset"
  offset=${BASHU_PORT_OFFSET:-$(cat "$made" 2>/dev/null || usual_offset "$1")}
  [[ $offset =~ ^[0-9]{1,5}$ ]] || fail "BASHU_PORT_OFFSET must be a number, it is '$offset'"
  ((offset <= 40000)) || fail "BASHU_PORT_OFFSET must be at most 40000, it is $offset"
  if [[ -f $made && $(<"$made") != "$offset" ]]; then
    fail "world '$1' was made with BASHU_PORT_OFFSET=$(<"$made"), not $offset: use that one," \
      "or start anew with 'deploy/dev/down $1 && rm -rf .dev/$1'"
  fi
}

# Tests of several checkouts may run at once: unless told, each takes the first ports that are free.
# What a test world held is worth nothing, so a broker that has to move starts anew.
move_test_ports() {
  [[ $1 == test && -z ${BASHU_PORT_OFFSET:-} ]] || return 0
  local folder="$dev/test/test" server candidate
  for server in postgres redis kafka; do alive "$folder/$server" && return 0; done
  for candidate in "$offset" 0 200 400 600 800 1200 1400 1600 1800; do
    ports_free "$candidate" && break
  done
  [[ $candidate == "$offset" ]] || rm -rf "$folder/kafka"
  offset=$candidate
}
ports_free() {
  local offset=$1 port
  ports test
  for port in $pg_port $redis_port $kafka_port $controller_port; do
    ! listening "$port" || return 1
  done
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
