#!/bin/sh
# Make .venv and install requirements.txt into it, unless that is done already.
# What is installed is remembered by content, place and Python, not by time: a moved
# folder, another Python or a new requirement installs again.
set -eu

python="${1:-python3}"
venv=.venv
stamp=$venv/.installed

if ! command -v "$python" >/dev/null 2>&1; then
    echo "$python not found; name yours: make book PYTHON=/path/to/python3.11" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or newer is needed, got $("$python" --version);" \
        "name another: make book PYTHON=python3.12" >&2
    exit 1
fi

version() {
    "$1" -c 'import sys; print(sys.version.split()[0])' 2>/dev/null || echo none
}
place="$(pwd) $(version "$python")"
wanted="$place
$(cat requirements.txt pyproject.toml | cksum)"

if [ "$(version "$venv/bin/python")" != none ] &&
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

# An environment of another place or another Python cannot be mended; ours can.
before=$(head -n 1 "$stamp" 2>/dev/null || true)
if [ "$(version "$venv/bin/python")" != "$(version "$python")" ] ||
    [ "${before:-$place}" != "$place" ]; then
    echo "set up: a new environment in $venv"
    rm -rf "$venv"
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        echo "python -m venv failed; on Debian: apt-get install python3-venv" >&2
        exit 1
    fi
fi
rm -f "$stamp"
echo "set up: installing requirements.txt (about 3 minutes the first time)"
"$venv/bin/python" -m pip install --disable-pip-version-check -r requirements.txt
echo "$wanted" >"$stamp"
