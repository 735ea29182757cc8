#!/bin/sh
# Pins every group anew, to the newest versions there are. Needs uv (`pip install uv`), nothing else.
# All groups are resolved together first, so that a package has the same version in every image.
set -eu
cd "$(dirname "$0")"
together=$(mktemp)
trap 'rm -f "$together"' EXIT
# Where this machine looks for packages is nobody else's business.
unset UV_FIND_LINKS UV_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_DEFAULT_INDEX

compile() {
    uv pip compile --quiet --no-config --upgrade --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
        --only-binary :all: --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@" >/dev/null
}

compile ./*.in --output-file "$together"
for group in ./*.in; do
    pins=${group%.in}.txt
    rm -f "$pins"
    compile "$group" --constraint "$together" --generate-hashes --output-file "$pins"
    echo "$pins: $(grep -c == "$pins") packages"
done
