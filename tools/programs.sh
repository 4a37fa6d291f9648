#!/bin/sh
# Installs the Debian packages named, which tests use and no wheel brings, where they are missing and we may: as root,
# with apt-get. Anywhere else, or when that fails, it says which are missing and goes on: those tests skip themselves.
# Starts no service. Usage: tools/programs.sh chromium nginx
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin
APT_S_MAX=120

say() { printf 'setup: %s\n' "$*" >&2; }

there() {
    command -v "$1" >/dev/null 2>&1 && return 0
    # Its other names, elsewhere than on Debian.
    [ "$1" = chromium ] && { command -v chromium-browser || command -v google-chrome; } >/dev/null 2>&1
}

missing=
for package in "$@"; do
    there "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

# RUNLEVEL=1 keeps what is installed from being started.
apt() {
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 timeout "$APT_S_MAX" \
        apt-get "$@" >>.cache/programs.log 2>&1 </dev/null
}

# shellcheck disable=SC2086  # a list of names
install() { apt install -y --no-install-recommends $missing; }

mkdir -p .cache
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing$missing, which tests use (Debian's packages)"
    install || { apt update && install; } || say "apt-get could not: see .cache/programs.log"
fi
for package in $missing; do
    there "$package" || say "no $package: the tests that need it are skipped"
done
