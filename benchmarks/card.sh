#!/usr/bin/env bash
# Runs all GPU benchmarks on a machine with one GPU, in minutes; see card.py beside this file.
#     bash benchmarks/card.sh --out DIR
# The environment variable PYTHON names the interpreter (default: python3).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 XLA_PYTHON_CLIENT_PREALLOCATE=false
if compgen -G '.card/wheels/*.whl' > /dev/null; then
  site=$(mktemp -d)
  "$python" -m pip install -q --disable-pip-version-check --root-user-action=ignore \
    --no-index --no-deps --no-compile --target "$site" .card/wheels/*.whl 2> "$site/pip.log" ||
    { cat "$site/pip.log" >&2; exit 1; }
  export PYTHONPATH="$PYTHONPATH:$site"
fi
exec "$python" benchmarks/card.py "$@"
