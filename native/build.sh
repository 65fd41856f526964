#!/bin/sh
# Builds the native decoder into a virtual environment, where cargo is new enough; everything works without it.
# Usage: native/build.sh VENV/bin
version=$(cargo --version 2>/dev/null | cut -d' ' -f2)
minor=$(printf '%s' "$version" | cut -d. -f2)
if [ "${minor:-0}" -lt 85 ]; then
    echo "The native decoder is not built, answers are decoded in Python: cargo 1.85 or newer is needed, found ${version:-none}."
elif ! {
    echo "Building the native decoder by cargo: once, some minutes"
    PATH="$PWD/$1:$PATH" "$1/python" -m pip install -v --disable-pip-version-check --no-build-isolation ./native
}; then
    echo "The native decoder could not be built, answers are decoded in Python; cargo's words are above."
fi
