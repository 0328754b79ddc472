#!/usr/bin/env bash
# Writes docker/locks/ anew: what the images install, every file by its hash. Run it as `make lock` after a change of
# pyproject.toml or constraints.txt.
#
# uv knows where PyTorch keeps its CPU builds. Where that cannot be reached, name a folder with torch's wheel:
#   UV_FIND_LINKS=/folder make lock
set -euo pipefail
cd "$(dirname "$0")/.."
UV=${UV:-uv}

compile() { # output, then options and inputs of uv
    local output=docker/locks/$1.txt
    shift
    "$UV" pip compile --quiet --generate-hashes --python-version 3.11 --python-platform x86_64-unknown-linux-gnu \
        --no-header --no-annotate --constraint constraints.txt --output-file "$output" --upgrade "$@"
}

cpu=(--torch-backend cpu)
[ -z "${UV_FIND_LINKS:-}" ] || cpu=()
service=(--extra service --extra otel --extra milvus pyproject.toml)
training=(--extra training pyproject.toml)
compile service-cpu "${cpu[@]}" "${service[@]}"
compile training-cpu "${cpu[@]}" "${training[@]}"
# What PyPI calls torch is its CUDA build.
unset UV_FIND_LINKS
compile service-cuda "${service[@]}"
compile training-cuda "${training[@]}"
compile load docker/locks/load.in
compile uv docker/locks/uv.in
