# shellcheck shell=bash
# What the machine must have besides Rust: which of it is missing, and its installation from the
# distribution. Programs only: no service is started, no cluster of the system is made.

quiet_mark="bashu: no service starts while its package is installed"

postgres_version() { "$(postgres_bin)/postgres" -V 2>/dev/null | grep -oE '[0-9]+' | head -1; }
java_version() { java -version 2>&1 | grep -oE 'version "[0-9]+' | grep -oE '[0-9]+'; }
has() { command -v "$1" >/dev/null 2>&1; }

# Names of Debian packages that are missing, one a line.
missing_packages() {
  local postgres java
  postgres=$(postgres_version || true) java=$(java_version || true)
  ((${postgres:-0} >= 15)) || echo postgresql
  { has redis-server && has redis-cli; } || echo redis-server
  ((${java:-0} >= 17)) || echo default-jre-headless
  has mvn || [[ -d $kafka_jars ]] || echo maven
  has make || echo make
  { has cc && has c++; } || echo build-essential
  has pkg-config || echo pkg-config
  [[ -e /usr/include/zlib.h ]] || echo zlib1g-dev
  [[ ${1:-} != ci ]] || has shellcheck || echo shellcheck
}

# Packages of servers want to start them; this file forbids it until `allow_services`.
forbid_services() {
  local file=/usr/sbin/policy-rc.d
  [[ -e $file ]] && ! grep -q "$quiet_mark" "$file" && return 0
  printf '#!/bin/sh\n# %s\nexit 101\n' "$quiet_mark" >"$file"
  chmod 755 "$file"
}
allow_services() {
  local file=/usr/sbin/policy-rc.d cluster=/etc/postgresql-common/createcluster.conf
  ! grep -qs "$quiet_mark" "$file" || rm -f "$file"
  [[ ! -f $cluster.before-bashu ]] || mv -f "$cluster.before-bashu" "$cluster"
}

# Debian makes a cluster `main` with the server's package, unless this setting is off meanwhile.
forbid_cluster() {
  local file=/etc/postgresql-common/createcluster.conf
  quietly apt-get install -y -qq --no-install-recommends postgresql-common
  [[ -f $file.before-bashu ]] || cp -p "$file" "$file.before-bashu"
  printf 'create_main_cluster = false\n' >>"$file"
}

quietly() {
  local said
  said=$("$@" 2>&1) || { tail -n 20 <<<"$said" >&2; fail "this did not work: $*"; }
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  trap allow_services EXIT
  quietly apt-get update -qq
  forbid_services
  [[ " $* " != *" postgresql "* ]] || forbid_cluster
  quietly apt-get install -y -qq --no-install-recommends "$@"
  # Installed for its program alone: the machine itself should not run it after the next boot.
  [[ " $* " != *" redis-server "* ]] || ! has systemctl || quietly systemctl disable redis-server
  allow_services
}
