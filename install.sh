#!/bin/sh
# Fetches the journal agent, checks it, and lets it install itself: all arguments but --offline are those of "agent install".
#
#   curl -fsSL URL/install.sh | sh -s -- --role=client --server https://logs.example.net:19532 --token TOKEN
#   ./install.sh --offline DIR --role=client --bundle=web1.bundle
#
# AGENT_BASE_URL     where releases are: BASE/latest names the newest version, BASE/vVERSION/ has SHA256SUMS and the programs
# AGENT_VERSION      install this version, not the newest
# --offline DIR      take SHA256SUMS and the program from DIR, and fetch nothing
# TMPDIR             where the program is until it has installed itself (default: /tmp)
#
# curl and wget also obey http_proxy and https_proxy.

{ # One command up to the last line: of a download that is cut off the shell runs nothing, and fails.
set -eu

base_url=${AGENT_BASE_URL:-}
version=${AGENT_VERSION:-}
prefix=/usr/local
offline=
work=

main() {
  option=
  for argument in "$@"; do
    shift
    case $option in
      --offline) argument=--offline=$argument ;;
      --prefix) prefix=$argument ;;
    esac
    option=$argument
    case $argument in
      --offline) continue ;;
      --offline=) break ;;
      --offline=*)
        offline=${argument#*=}
        continue
        ;;
      --prefix=*) prefix=${argument#*=} ;;
    esac
    set -- "$@" "$argument"
  done
  case $option in --offline | --offline=) fail "--offline= is empty, need a directory" ;; esac

  command -v sha256sum >/dev/null || fail "there is no sha256sum, and nothing runs unchecked"
  find_platform
  trap cleanup EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  make_work
  [ -n "$offline" ] || find_release
  get SHA256SUMS
  find_hash
  agent=$prefix/bin/agent
  if [ -x "$agent" ] && has_hash "$agent"; then
    say "\"$agent\" is this version already"
  else
    say "Taking \"$release/$program\""
    get "$program"
    agent=$work/$program
    has_hash "$agent" || fail "\"$release/$program\" is not what its SHA256SUMS says, nothing of it was run" \
      "Try again; if it stays so, do not trust that place"
    chmod 0755 "$agent"
  fi
  # Not exec: the directory has to be removed afterwards. stdin is left to "--token -".
  "$agent" install "$@"
}

# Sets program, the name of the build for this machine.
find_platform() {
  system=$(uname -s)
  machine=$(uname -m)
  case $system/$machine in
    Linux/x86_64)
      program="agent-linux-x64"
      # It needs instructions of 2013, which virtual machines may hide.
      grep -qw avx2 /proc/cpuinfo || program="agent-linux-x64-baseline"
      ;;
    Linux/aarch64) program="agent-linux-arm64" ;;
    *) fail "this machine is $system/$machine, need Linux/x86_64 or Linux/aarch64" ;;
  esac
}

# Makes work, a directory from which programs may be run.
make_work() {
  for parent in "${TMPDIR:-/tmp}" /var/tmp /root; do
    work=$(mktemp -d "$parent/journal-agent.XXXXXX" 2>/dev/null) || continue
    printf '#!/bin/sh\n' >"$work/try"
    chmod 0700 "$work/try"
    if "$work/try" 2>/dev/null; then return; fi
    cleanup
  done
  work=
  fail "programs may not be run from \"${TMPDIR:-/tmp}\", /var/tmp and /root" \
    "Set TMPDIR to a directory that is writable and not mounted noexec"
}

cleanup() {
  if [ -n "$work" ]; then rm -rf "$work"; fi
}

# Sets release, the address of the version that is to be installed.
find_release() {
  [ -n "$base_url" ] || fail "AGENT_BASE_URL is not set, need the address of the releases" \
    "Without network: install.sh --offline DIR"
  release=${base_url%/}
  if [ -z "$version" ]; then
    get latest
    read -r version <"$work/latest" || :
  fi
  version=${version#v}
  case $version in
    '' | *[!0-9A-Za-z.+-]*) fail "\"$version\" is no version, need one like 1.2.3" "Is \"$base_url\" the right place?" ;;
  esac
  release=$release/v$version
}

# Sets hash, the SHA-256 that program has to have.
find_hash() {
  hash=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]$program\$/\1/p" "$work/SHA256SUMS")
  [ -n "$hash" ] || fail "\"$release/SHA256SUMS\" does not name $program" "Is that release complete?"
}

# has_hash FILE
has_hash() {
  [ "$(sha256sum <"$1")" = "$hash  -" ]
}

# get NAME: a file of the release, to the working directory.
get() {
  if [ -n "$offline" ]; then
    release=$offline
    cp -- "$release/$1" "$work/$1" || fail "there is no $1 in \"$release\"" "Copy SHA256SUMS and the programs of one release there"
  elif command -v curl >/dev/null; then
    # From https: it is not led to where others can change what comes.
    redirects='=https'
    case $release in http:*) redirects='=http,https' ;; esac
    curl -fsSL --proto-redir "$redirects" --retry 3 --connect-timeout 20 --speed-time 60 -o "$work/$1" "$release/$1" || fail "cannot fetch \"$release/$1\""
  elif command -v wget >/dev/null; then
    # Or that of busybox, which crashes on -T (1.35).
    wget -nv -t 3 -O "$work/$1" "$release/$1" || fail "cannot fetch \"$release/$1\""
  else
    fail "there is neither curl nor wget" "Install one of them; without network: install.sh --offline DIR"
  fi
}

say() {
  printf 'install.sh: %s\n' "$1" >&2
}

# fail PROBLEM [HINT]
fail() {
  say "Cannot install: $1"
  [ $# -lt 2 ] || say "$2"
  exit 1
}

main "$@"
exit
}
