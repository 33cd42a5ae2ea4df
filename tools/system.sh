#!/bin/sh
# Install programs that are missing, with the system's package manager: tools/system.sh PROGRAM...
# The exit status is 1 if one of them is still missing; a line says which, and how to get it.
set -eu
mkdir -p "$(dirname "$0")/../var"
log=$(cd "$(dirname "$0")/../var" && pwd)/system.log
PATH=$PATH:/usr/sbin:/usr/local/sbin # where Debian keeps servers, and users do not look

present() {
    case $1 in
    chromium)
        for browser in "${CHROMIUM:-}" /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome \
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" \
            /Applications/Chromium.app/Contents/MacOS/Chromium; do
            [ -x "$browser" ] && return 0
        done
        return 1
        ;;
    postgresql) command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ;;
    python*-venv) "${1%-venv}" -c 'import ensurepip, venv' 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@" # it may ask
    else
        sudo -n "$@"
    fi
}

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1; }

install() {
    if command -v brew >/dev/null; then
        case $1 in
        chromium) brew install --quiet --cask chromium >>"$log" 2>&1 ;;
        redis-server) brew install --quiet redis >>"$log" 2>&1 ;;
        *) brew install --quiet "$1" >>"$log" 2>&1 ;;
        esac
    elif command -v apt-get >/dev/null; then
        apt install --no-install-recommends "$1" || { apt update && apt install --no-install-recommends "$1"; }
    else
        return 1
    fi
}

: >"$log"
status=0
for program; do
    present "$program" && continue
    echo "setup: installing $program"
    install "$program" || true
    present "$program" && continue
    echo "setup: $program is missing and could not be installed; install it yourself (details in var/system.log)" >&2
    status=1
done
exit $status
