# Sourced by scripts/demo, scripts/test and .ci/run: makes .venv once and keeps it up to date.
# Usage: environment EXTRA   (EXTRA is "" or an extra of pyproject.toml such as test or dev)

environment() {
    local extra="$1" python="" candidate stamp wanted
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python="$candidate"
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "Python 3.11 or newer with venv and pip is needed (on Debian: apt-get install python3-venv)." >&2
        return 1
    fi
    wanted="$extra $("$python" --version) $(cat pyproject.toml constraints.txt | cksum)"
    stamp=".venv/.made-for${extra:+-$extra}"
    if [ ! -x .venv/bin/python ]; then
        "$python" -m venv .venv
    fi
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "Installing into .venv ..." >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            --constraint constraints.txt --editable ".${extra:+[$extra]}"
        printf '%s\n' "$wanted" >"$stamp"
    fi
}
