#!/usr/bin/env bash
# setup.sh [demo|test|all]: sees to it that this machine has what `make demo` and `make test` need. Lists what is missing;
# on Debian and Ubuntu installs it by apt, as root or with sudo; elsewhere prints what to install and exits 1.
# Changes nothing, and is quick, when all is there. Rust itself is not installed here: see https://rustup.rs
set -euo pipefail

goal="${1:-all}"
case "$goal" in demo | test | all) ;; *)
    echo "setup.sh: unknown goal '$goal': it is demo, test or all" >&2
    exit 2
    ;;
esac

have() { command -v "$1" >/dev/null 2>&1; }

java_major() {
    local java=java
    [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ] && java="$JAVA_HOME/bin/java"
    "$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -1
}

node_major() { node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p'; }

have_postgres() {
    have initdb && return
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

# Debian's headers are where the compiler looks, under a folder of the architecture: ask the compiler, not the path.
have_header() { echo "#include <$1>" | cc -E -x c - >/dev/null 2>&1; }

have_chromium() { have chromium || have chromium-browser || have google-chrome || have google-chrome-stable; }

have_compose() { docker compose version >/dev/null 2>&1 || have docker-compose; }

# What is missing, and the packages that bring it. A package "a|b" is the first of them that this release has.
missing=()
packages=()
need() {
    local what="$1"
    shift
    missing+=("$what")
    packages+=("$@")
}

look() {
    missing=()
    packages=()
    { have cc && have c++ && have make; } || need "a C and C++ compiler" build-essential
    have pkg-config || need "pkg-config" pkg-config
    if have cc; then
        have_header openssl/ssl.h || need "OpenSSL's headers" libssl-dev
        have_header zlib.h || need "zlib's headers" zlib1g-dev
    else
        need "OpenSSL's and zlib's headers" libssl-dev zlib1g-dev
    fi
    local java node
    java="$(java_major || true)"
    [ "${java:-0}" -ge 17 ] || need "a Java runtime, 17 or later" "openjdk-17-jre-headless|openjdk-21-jre-headless|openjdk-25-jre-headless|default-jre-headless"
    have mvn || need "Apache Maven" maven
    have_postgres || need "a PostgreSQL server" postgresql
    node="$(node_major || true)"
    { [ "${node:-0}" -ge 18 ] && have npm; } || need "Node.js, 18 or later, with npm" nodejs npm
    if [ "$goal" != demo ]; then
        python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || need "Python 3 with venv" python3 python3-venv
        have_chromium || need "Chromium" chromium
        have chromedriver || need "Chromium's driver" "chromium-driver|chromium-chromedriver"
        have_compose || need "docker compose (to check the compose file)" "docker-compose|docker-compose-v2|docker-compose-plugin"
    fi
}

if ! have cargo; then
    echo "setup: cargo is not on the PATH: install Rust from https://rustup.rs, open a new shell, try again" >&2
    exit 1
fi
look
[ ${#missing[@]} -eq 0 ] && exit 0

echo "setup: missing on this machine:"
printf '  - %s\n' "${missing[@]}"

if ! have apt-get; then
    echo "setup: install these by this system's own means, then try again." >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    if ! have sudo; then
        echo "setup: neither root nor sudo: have an administrator run: apt-get install ${packages[*]%%|*}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@"; }

echo "setup: apt-get update"
apt update

chosen=()
for package in "${packages[@]}"; do
    found=
    for name in ${package//|/ }; do
        if apt-cache show "$name" >/dev/null 2>&1; then
            found="$name"
            break
        fi
    done
    if [ -z "$found" ]; then
        echo "setup: this release has no package ${package//|/ or }" >&2
        exit 1
    fi
    chosen+=("$found")
done

# Debian would start a database of its own on port 5432, which nobody here asked for.
if [[ " ${chosen[*]} " == *" postgresql "* ]] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    echo "setup: installing PostgreSQL without a cluster of its own"
    apt install --no-install-recommends postgresql-common
    "${as_root[@]}" sed -i "s/^#\? *create_main_cluster *=.*/create_main_cluster = false/" /etc/postgresql-common/createcluster.conf
fi

echo "setup: installing ${chosen[*]}"
apt install --no-install-recommends "${chosen[@]}"

look
if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: still missing after the installation, most likely because this release is too old:" >&2
    printf '  - %s\n' "${missing[@]}" >&2
    exit 1
fi
echo "setup: done"
