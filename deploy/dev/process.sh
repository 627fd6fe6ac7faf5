# shellcheck shell=bash
# A server as a process with a folder: `pid` names it, `out` is what it printed. Found again by
# process id and start time, and for those that `bashu dev` started by the program's path.

start_seconds_max=60
stop_seconds_max=20

# A process id may be given to another process after a crash; its start time tells them apart.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
state_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1; }
alive() {
  local pid start program
  { read -r pid start && { read -r program || true; }; } 2>/dev/null <"$1/pid" || return 1
  [[ -n $start && $(started_at "$pid") == "$start" ]] && [[ $(state_of "$pid") != Z ]] || return 1
  [[ -z $program || $(readlink "/proc/$pid/exe") == "$program"* ]]
}

# Starts "$@" (after the folder) in the background, without the lock that `up` holds. A function
# given here must end in `exec setsid`, so that the id stays true and the terminal is left.
detach() {
  local folder=$1
  shift
  [[ -f $folder/out ]] && mv -f "$folder/out" "$folder/out.1"
  "$@" >"$folder/out" 2>&1 </dev/null 9>&- &
  echo "$! $(started_at $!)" >"$folder/pid"
}

# Stops by signal $2, and by KILL if that is not heeded in time. `stopping` tells the next `up` of a
# server that was told to stop by a `down` that did not live to see it.
halt() {
  alive "$1" || { rm -f "$1/pid" "$1/stopping"; return 0; }
  local pid turns=$((stop_seconds_max * 10))
  read -r pid _ <"$1/pid"
  touch "$1/stopping"
  kill -s "$2" "$pid" 2>/dev/null || true
  while alive "$1" && ((turns-- > 0)); do sleep 0.1; done
  if alive "$1"; then
    kill -s KILL "$pid" 2>/dev/null || true
    say "process $pid had to be killed"
  fi
  rm -f "$1/pid" "$1/stopping"
}

# Waits until "$@" (after folder and name) succeeds; shows the last words of a server that died.
await() {
  local folder=$1 name=$2 turns=$((start_seconds_max * 20))
  shift 2
  until "$@" >/dev/null 2>&1; do
    alive "$folder" || fail "$name ended while starting: $(tail -n 15 "$folder/out")"
    ((turns-- > 0)) || fail "$name is not ready after $start_seconds_max s; see $folder/out"
    sleep 0.05
  done
}

# Servers of this folder that nothing knows any more, say because .dev was removed under them.
leftovers() {
  local file name
  for file in /proc/[0-9]*/cmdline; do
    grep -qaF -- "$1/" "$file" 2>/dev/null || continue
    name=$(cat "${file%cmdline}comm" 2>/dev/null || true)
    [[ $name =~ ^(postgres|redis-server|java)$ ]] && cut -d/ -f3 <<<"$file"
  done
  return 0
}

# Makes sure that a server which is not ours does not hold the port wanted for "$2".
need_port() {
  local port=$1 name=$2 folder=$3 pid holder turns=$((stop_seconds_max * 10))
  if alive "$folder" || ! listening "$port"; then return 0; fi
  for pid in $(leftovers "$folder"); do
    say "stopping process $pid, a forgotten $name of this checkout"
    kill -s INT "$pid" 2>/dev/null || true
    while [[ -e /proc/$pid ]] && ((turns-- > 0)); do sleep 0.1; done
  done
  listening "$port" || return 0
  holder=$(ss -ltnpH "sport = :$port" 2>/dev/null | grep -oE 'pid=[0-9]+' | head -1 || true)
  pid=${holder#pid=}
  [[ -z $pid ]] || holder=" by process $pid ($(tr -s '\0 ' ' ' <"/proc/$pid/cmdline" | cut -c1-80))"
  fail "port $port, wanted for $name, is taken$holder. Stop it, or move: BASHU_PORT_OFFSET=200 make run"
}
