#!/bin/sh
# Kiln beside PyTorch: prints a table in Markdown, for benches/RESULTS.md.
#
#   run.sh [--install] [--threads 2] [--device cpu|cuda] [--work mae bert gpt2 wav2vec2 ttm ..]
#          [--rounds 5] [--steps 3] [--best] [--no-compile] [--peak-tflops N] [--json FILE]
#
# --install   makes a virtual environment in $KILN_COMPARE_VENV (~/.cache/kiln/compare) and
#             installs torch, safetensors and numpy in it; later runs use it
# PYTHON      a Python that has them, otherwise
# KILN_COMPARE  the binary `compare`, otherwise built here with --release
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv=${KILN_COMPARE_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/kiln/compare}
install= device=cpu last=
for word in "$@"; do
    shift
    if [ "$last" = --device ]; then device=$word; fi
    last=$word
    if [ "$word" = --install ]; then install=yes; else set -- "$@" "$word"; fi
done

if [ "$install" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet torch safetensors numpy
fi
if [ -z "${PYTHON:-}" ]; then
    if [ -x "$venv/bin/python" ]; then PYTHON=$venv/bin/python; else PYTHON=python3; fi
fi
if ! "$PYTHON" -c 'import torch, safetensors, numpy' 2>/dev/null; then
    echo "$PYTHON lacks torch, safetensors or numpy: run with --install, or set PYTHON" >&2
    exit 1
fi

if [ -z "${KILN_COMPARE:-}" ]; then
    features=
    if [ "$device" = cuda ]; then features="--features cuda"; fi
    # shellcheck disable=SC2086
    (cd "$here/../.." && cargo build --release --package kiln-benches --bin compare $features)
    KILN_COMPARE=${CARGO_TARGET_DIR:-$here/../../target}/release/compare
fi
exec "$PYTHON" "$here/compare.py" --kiln "$KILN_COMPARE" "$@"
