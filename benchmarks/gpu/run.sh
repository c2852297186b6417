#!/usr/bin/env bash
# The day, or a part of it, in one call: unpacks the parcels that have come, then runs what fits into the minutes:
#   benchmarks/gpu/run.sh --minutes 8 --output FOLDER [--only NAME…] [--rehearse]
# SITE keeps what was unpacked for the calls to come, as long as the machine does.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} site=${SITE:-${TMPDIR:-/tmp}/spire-gpu-site}
"$python" benchmarks/gpu/parcels.py unpack "$site"
export PYTHONPATH=$PWD:$site PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec "$python" -m benchmarks.gpu "$@"
