#!/bin/sh
# usage: run.sh BENCH_UPS [arguments]: in a folder of its own on the disk of TMPDIR
set -e
program=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$program" "$folder" "$@"
