#!/usr/bin/env bash
# Everything that only a GPU can tell, in one call of under nine minutes:
#   tools/gpu_check.sh OUT            writes OUT/report.md, OUT/report.json and a log per step
#   tools/gpu_check.sh OUT --dry-run  only says what would be done
# PYTHON names the interpreter; by default that of .venv, else python3.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[[ -x $python || -n ${PYTHON:-} ]] || python=python3
exec "$python" "$root/tools/gpu_check.py" "$@"
