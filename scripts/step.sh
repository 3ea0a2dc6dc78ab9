#!/usr/bin/env bash
# step.sh NAME COMMAND...: runs one step under a heading and says how long it took; STEP_TIMES names a file that gathers
# the times, for a table at the end.
set -euo pipefail
name="$1"
shift
printf '\n==> %s\n' "$name"
started=$SECONDS
status=0
"$@" || status=$?
took=$((SECONDS - started))
outcome=ok
[ "$status" = 0 ] || outcome="FAILED ($status)"
printf '<== %s: %s, %d s\n' "$name" "$outcome" "$took"
if [ -n "${STEP_TIMES:-}" ]; then
    printf '%6d s  %-28s %s\n' "$took" "$name" "$outcome" >>"$STEP_TIMES"
fi
exit "$status"
