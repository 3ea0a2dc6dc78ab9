#!/usr/bin/env bash
# The page in a real Chromium, against the real server and a real broker, with ticks written by hand.
#   tests/page/run.sh                  the tests
#   tests/page/run.sh --screenshots    writes docs/page-*.png as well
#   tests/page/run.sh --measure        measures what the page costs the browser, too
# Needs the binaries built, the page's npm packages, python3 with venv, and Chromium.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec tests/python.sh page -rA --durations=5 "$@"
