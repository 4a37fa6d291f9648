#!/bin/sh
# Makes .venv as uv.lock says, fetching uv and Python first where they are missing.
# Does nothing, in a few milliseconds, when .venv already fits. Safe to run twice at once.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)

fingerprint=$(cat .python-version pyproject.toml uv.lock | cksum)
stamp=.venv/.setup-done
fits() { [ -x .venv/bin/python ] && [ -r "$stamp" ] && [ "$(cat "$stamp")" = "$fingerprint" ]; }

say() { printf 'setup: %s\n' "$*" >&2; }

# One setup at a time. A lock left by a killed setup names a process that is gone.
take_turn() {
    lock=$root/.cache/setup.lock
    waited=0
    until ln -s "$$" "$lock" 2>/dev/null; do
        holder=$(readlink "$lock" 2>/dev/null || true)
        if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
            rm -f "$lock"
            continue
        fi
        [ "$waited" -gt 0 ] || say "waiting for another setup (process ${holder:-?})"
        waited=$((waited + 1))
        if [ "$waited" -gt 900 ]; then
            say "process $holder still holds $lock after 15 minutes: end it, or remove the lock"
            exit 1
        fi
        sleep 1
    done
    trap 'rm -f "$lock"' EXIT
    trap 'exit 130' INT TERM HUP
}

# pyenv's own interpreters, without its shims: those obey .python-version and refuse where 3.12 is not theirs.
pyenv_folders() {
    for folder in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[23]*/bin; do
        [ -x "$folder/python3" ] && printf ':%s' "$folder"
    done
    return 0
}

works() { "$1" --version >/dev/null 2>&1; }

find_uv() {
    for uv in "$(command -v uv || true)" "$root/.uv/bin/uv" "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv"; do
        if [ -n "$uv" ] && works "$uv"; then return 0; fi
    done
    return 1
}

# Any Python with pip can fetch uv; it need not be one that can run MSGXC.
uv_by_pip() {
    for python in python3 python python3.13 python3.12 python3.11 python3.10 /usr/bin/python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
        command -v "$python" >/dev/null 2>&1 || continue
        if (cd / && "$python" -m pip install --quiet --disable-pip-version-check --no-input \
            --target "$root/.uv" --upgrade uv) >.cache/setup-uv.log 2>&1; then
            find_uv && return 0
        fi
    done
    return 1
}

uv_by_installer() {
    url=https://astral.sh/uv/install.sh
    if command -v curl >/dev/null 2>&1; then fetch="curl -LsSf --max-time 120"
    elif command -v wget >/dev/null 2>&1; then fetch="wget -qO- --timeout=120"
    else return 1; fi
    script=$($fetch "$url" 2>>.cache/setup-uv.log) || return 1
    printf '%s\n' "$script" |
        env UV_INSTALL_DIR="$root/.uv/bin" UV_NO_MODIFY_PATH=1 sh >>.cache/setup-uv.log 2>&1 || return 1
    find_uv
}

get_uv() {
    find_uv && return 0
    say "fetching uv"
    uv_by_pip || uv_by_installer && return 0
    say "no uv: neither pip nor its installer could fetch it (see .cache/setup-uv.log)."
    say "install it from https://docs.astral.sh/uv/ and run make again"
    exit 1
}

mkdir -p .cache
# What is downloaded and built is shown, the list of a hundred packages is not.
sync() {
    failed=.cache/setup.failed
    rm -f "$failed"
    { "$uv" sync --frozen --compile-bytecode --python-preference system 2>&1 || : >"$failed"; } |
        { grep -v '^ [-+~] ' || true; } >&2
    [ ! -e "$failed" ] || {
        say "uv could not make .venv: its message is above"
        exit 1
    }
}

if fits; then exit 0; fi
take_turn
if fits; then exit 0; fi
get_uv
PATH=$PATH$(pyenv_folders)
export PATH
say "making .venv from uv.lock with $("$uv" --version)"
rm -f "$stamp"
sync
# Compiled once here rather than at each first import.
.venv/bin/python -m compileall -q -j 2 cli api infra processes commands projections gateways domain >/dev/null || true
printf '%s\n' "$fingerprint" >"$stamp"
say "done"
