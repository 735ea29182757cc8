#!/usr/bin/env bash
# Builds the images recommender-<program>:<tag> with podman or docker: all of them, or the programs named.
#
#   containers/build.sh                   all, with the version of pyproject.toml as the tag
#   containers/build.sh train serve       two of them
#   ENGINE=docker TAG=test containers/build.sh
#   PYTHON=registry.example.com/python:3.11-slim containers/build.sh      another base image
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
tag=${TAG:-$version}
revision=${SOURCE_REVISION:-$(git describe --always --abbrev=12 --dirty 2>/dev/null || echo unknown)}
# A client of docker may be there without its daemon, so asking for `info` and not for a path.
engine=${ENGINE:-$(podman info >/dev/null 2>&1 && echo podman || echo docker)}
targets=("$@")
if ((${#targets[@]} == 0)); then
    mapfile -t targets < <(sed -n '/^# --- the images/,$ s/^FROM .* AS //p' containers/Dockerfile)
fi
options=(--build-arg "VERSION=$version" --build-arg "SOURCE_REVISION=$revision")
if [[ -n ${PYTHON:-} ]]; then options+=(--build-arg "PYTHON=$PYTHON"); fi

for target in "${targets[@]}"; do
    began=$SECONDS
    "$engine" build --quiet --file containers/Dockerfile --target "$target" "${options[@]}" \
        --tag "recommender-$target:$tag" . >/dev/null
    size=$("$engine" image inspect --format '{{.Size}}' "recommender-$target:$tag")
    echo "recommender-$target:$tag  $((size / 1000000)) MB  $((SECONDS - began)) s"
done
