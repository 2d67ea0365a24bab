#!/bin/sh
# `kiln embed` beside sentence-transformers: prints a table in Markdown, for benches/RESULTS.md.
#
#   run.sh [--install] TEXT..
#
# TEXT        plain text of which the tokenizer and the sentences are made
# --install   makes a virtual environment in $KILN_EMBED_VENV (~/.cache/kiln/embed) and installs
#             sentence-transformers in it; later runs use it
# PYTHON      a Python that has it, otherwise
# THREADS     threads of both sides, otherwise 2
# KILN        the binary `kiln`, otherwise built here with --release
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv=${KILN_EMBED_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/kiln/embed}
if [ "${1:-}" = --install ]; then
    shift
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet sentence-transformers
fi
if [ -z "${PYTHON:-}" ]; then
    if [ -x "$venv/bin/python" ]; then PYTHON=$venv/bin/python; else PYTHON=python3; fi
fi
if [ -z "${KILN:-}" ]; then
    (cd "$here/../.." && cargo build --release --package kiln-cli --bin kiln)
    KILN=${CARGO_TARGET_DIR:-$here/../../target}/release/kiln
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$PYTHON" "$here/model.py" --text "$@" --model "$work/model" --sentences "$work/sentences.jsonl"
"$PYTHON" "$here/compare.py" --kiln "$KILN" --model "$work/model" \
    --sentences "$work/sentences.jsonl" --threads "${THREADS:-2}"
