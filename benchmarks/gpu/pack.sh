#!/usr/bin/env bash
# Gathers what travels to a GPU machine into .parcels/, in parcels of at most N MiB, and prints files and sizes:
#   benchmarks/gpu/pack.sh --limit-mib N [NAME…]
# PYTHON is the interpreter of an environment made of machine.txt; `make gpu-machine` makes one.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec "${PYTHON:-.gpu/machine/bin/python}" benchmarks/gpu/parcels.py pack "$@"
