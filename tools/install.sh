#!/usr/bin/env bash
# tools/install.sh VENV ARGUMENTS: makes an environment and installs into it with uv, in a quarter of pip's time and under
# pip's own settings of wheels, indexes and constraints; with pip where uv cannot.
set -euo pipefail
venv=$1
shift
"${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip "$@"; }
setting() { pip config get "global.$1" 2>/dev/null || true; }

with_uv() {
    pip install -q --no-compile uv
    export UV_SYSTEM_CERTS=true UV_INDEX_STRATEGY=unsafe-best-match UV_HTTP_TIMEOUT=180
    export UV_FIND_LINKS="${PIP_FIND_LINKS:-$(setting find-links)}" UV_DEFAULT_INDEX="${PIP_INDEX_URL:-$(setting index-url)}"
    export UV_INDEX="${PIP_EXTRA_INDEX_URL:-$(setting extra-index-url)}" UV_CONSTRAINT="${PIP_CONSTRAINT:-$(setting constraint)}"
    for name in UV_FIND_LINKS UV_DEFAULT_INDEX UV_INDEX UV_CONSTRAINT; do
        [ -n "${!name}" ] || unset "$name"
    done
    "$venv/bin/uv" pip install -q --python "$venv/bin/python" "$@"
}

with_uv "$@" || { echo "uv could not install; pip does it." >&2; pip install -q --no-compile "$@"; }
