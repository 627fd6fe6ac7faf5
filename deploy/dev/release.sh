# shellcheck shell=bash
# Release builds for `make bench` and `make chaos`: one copy in .dev/bin/release, where a build of
# another checkout that shares the target directory cannot replace it, each with the commit it was
# built from beside it.

release_flags=(--locked --ignore-rust-version --release)

# The commit that is checked out, and whether the sources differ from it.
checked_out() {
  local commit
  commit=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null) || commit=unknown
  [[ -z $(git -C "$root" status --porcelain --untracked-files=no 2>/dev/null) ]] ||
    commit+=" + changes"
  echo "$commit"
}

# Replaced by renaming, since a running program's file cannot be written to.
keep_release() {
  local to="$root/.dev/bin/release/${1##*/}"
  mkdir -p "${to%/*}"
  cp --reflink=auto "$1" "$to.new"
  mv -f "$to.new" "$to"
  checked_out >"$to.commit"
}

# bashu, the gateway and one program of the crate `tests`. Apart, so that each is built with its
# own features alone.
build_release() {
  local gateway="$CARGO_TARGET_DIR/gateway"
  cargo build -p bashu "${release_flags[@]}"
  keep_release "$CARGO_TARGET_DIR/release/bashu"
  cargo build -p tests --bin "$1" "${release_flags[@]}"
  keep_release "$CARGO_TARGET_DIR/release/$1"
  cargo build -p gateway --target-dir "$gateway" "${release_flags[@]}"
  keep_release "$gateway/release/bashu-gateway"
}
