#!/usr/bin/env bash
# Makes silver and gold of one lake by the refiner, by Spark and by DuckDB with the same SQL files, and compares them with each
# other and with plain Python; then what hands the lake to others: Athena's tables, DuckDB's views, notebooks, Iceberg. Needs
# the binaries built, Java 17 or newer and python3 with venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec tests/python.sh refiner -rA --durations=0 "$@"
