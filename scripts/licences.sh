#!/usr/bin/env bash
# Checks dependencies against deny.toml: with cargo-deny where it is installed, else with scripts/licences.py.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo-deny >/dev/null; then
    exec python3 scripts/licences.py
fi
cargo deny --locked check licenses bans sources
if cargo deny fetch db >/dev/null 2>&1; then
    cargo deny --locked check advisories
else
    echo "advisories: NOT CHECKED: the advisory database cannot be fetched from here" >&2
fi
