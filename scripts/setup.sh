#!/usr/bin/env bash
# Makes sure that Python, its venv module, a linker and a current cargo are there, and makes the virtual environment.
# As root on Debian it installs what is missing; otherwise it says what to type.
# setup.sh PYTHON OLDEST_CARGO VENV [PROGRAM ...]: programs that are Debian packages of the same name.
set -euo pipefail
python=$1 oldest_cargo=$2 venv=$3
shift 3

need() { # need PACKAGE... : from Debian, or one line with the remedy
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" >/dev/null
    else
        echo "forecache needs $*; type: sudo apt-get install $*" >&2
        exit 1
    fi
}

if ! command -v "$python" >/dev/null; then
    [ "$python" = python3 ] || { echo "forecache: there is no $python; type: make PYTHON=python3 ..." >&2; exit 1; }
    need python3
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "forecache needs Python 3.10 or newer, and $python is $("$python" --version); type: make PYTHON=python3.12 ..." >&2
    exit 1
}
command -v cc >/dev/null || need gcc libc6-dev
version=$(cargo --version 2>/dev/null | cut -d' ' -f2) || true
if [ "$(printf '%s\n' "$oldest_cargo" "${version:-0}" | sort -V | head -n1)" != "$oldest_cargo" ]; then
    if [ -z "$version" ]; then remedy="install it as https://rustup.rs says"; else remedy="there is $version; type: rustup update stable"; fi
    echo "forecache needs cargo $oldest_cargo or newer: $remedy" >&2
    exit 1
fi
missing=()
for program in "$@"; do
    command -v "$program" >/dev/null || missing+=("$program")
done
[ ${#missing[@]} = 0 ] || need "${missing[@]}"
[ -x "$venv/bin/pip" ] && exit 0
"$python" -c 'import venv, ensurepip' 2>/dev/null || need "python$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')-venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
