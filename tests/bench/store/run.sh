#!/bin/sh
# Run bench-accept in a folder of its own on the build's file system. usage: run.sh BENCH-ACCEPT
set -eu
folder=$(mktemp -d ./bench-store-XXXXXX)
trap 'rm -rf "$folder"' EXIT
"$1" "$folder" 320 3
