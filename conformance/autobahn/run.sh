#!/bin/sh
# run.sh URL [CASES...]: run the fuzzing client against a WebSocket echo server.
# CASES are patterns such as '6.*' or 1.1.1; default: 1.* to 10.* without 9.*.
# Environment: AUTOBAHN_VENV (from setup.sh; required), OUT (report
# folder), EXCLUDE (patterns), TIMEOUT (seconds for the whole run, default 3000).
set -eu
[ $# -ge 1 ] || { echo "usage: $0 URL [CASES...]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
exec "${AUTOBAHN_VENV:?the folder that setup.sh made}/bin/python" "$here/run.py" "$@"
