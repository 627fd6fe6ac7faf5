# shellcheck shell=bash
# One Kafka broker of a union in KRaft mode, from Maven's artifacts. The jars are shared by all
# checkouts of this user; the log and the settings belong to the world.

kafka_version=4.4.0
kafka_jars="${XDG_CACHE_HOME:-$HOME/.cache}/bashu/kafka-$kafka_version"

kafka_fetch() {
  [[ -d $kafka_jars ]] && return 0
  command -v mvn >/dev/null || fail "maven is not installed: run 'make deps'"
  local fresh="$kafka_jars.$$" said
  say "Kafka $kafka_version: fetching 45 jars, 43 MB, into $kafka_jars (once, about 10 s)"
  mkdir -p "$fresh"
  said=$(mvn -B -q -f "$here/kafka/pom.xml" -DoutputDirectory="$fresh" \
    dependency:copy-dependencies 2>&1) || {
    rm -rf "$fresh"
    head -n 20 <<<"$said" >&2
    fail "Maven could not fetch Kafka; its messages are above"
  }
  # A second checkout may have been quicker; then its jars are as good as ours.
  mv -T "$fresh" "$kafka_jars" 2>/dev/null || rm -rf "$fresh"
}

kafka_java() {
  local folder=$1 heap=(-Xms128m -Xmx384m)
  shift
  cd "$folder" && exec setsid java "${heap[@]}" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
    -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true -Duser.timezone=UTC \
    -Dbashu.log="$folder/log" \
    -Dlog4j2.configurationFile="$here/kafka/log4j2.xml" -cp "$kafka_jars/*" "$@"
}

kafka_format() {
  [[ -f $folder/prepared ]] && return 0
  local id
  id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '=\n')
  rm -rf "$folder/data"
  (kafka_java "$folder" kafka.tools.StorageTool format -t "$id" -c "$folder/server.properties" \
    --standalone) >"$folder/format.log" 2>&1 ||
    { cat "$folder/format.log" >&2; fail "Kafka could not prepare its folder"; }
  touch "$folder/prepared"
}

kafka_start() {
  local union=$1 folder="$2/kafka" from=$EPOCHREALTIME
  mkdir -p "$folder"
  if ! alive "$folder"; then
    # Clients are told the advertised port: a proxy's, where one stands before the broker.
    sed -e "s|@port@|$kafka_port|; s|@controller@|$controller_port|; s|@data@|$folder/data|" \
      -e "s|@advertised@|${BASHU_KAFKA_ADVERTISED_PORT:-$kafka_port}|" \
      "$here/kafka/server.properties" >"$folder/server.properties"
    # The controller lets the lease of a broker that vanished run out before the next may register.
    [[ ! -f $folder/prepared || -f $folder/data/.kafka_cleanshutdown ]] ||
      say "$union Kafka was killed the last time and waits about 10 s for its old lease to end"
    kafka_format
    rm -f "$folder/log"
    detach "$folder" kafka_java "$folder" kafka.Kafka "$folder/server.properties"
  fi
  await "$folder" "Kafka of $union" kafka_answers "$folder"
  say "$union Kafka ready on 127.0.0.1:$kafka_port ($(elapsed "$from"))"
}

kafka_answers() { grep -q 'Kafka Server started' "$1/log" && listening "$kafka_port"; }
