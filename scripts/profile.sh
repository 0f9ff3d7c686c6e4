#!/usr/bin/env bash
# Shows where a fit, or sampling (nuts), spends its time and memory.
#
#     ./scripts/profile.sh nlsq                        a simulated data set of 20 M points, on one process
#     ./scripts/profile.sh nlsq CONFIG [ARGUMENT ...]  a fit of yours; further arguments go to homodyne-mpi
#     RANKS=4 ./scripts/profile.sh nlsq ...            on so many ranks of this machine
#
# Writes to ./profile: trace.json (open it at ui.perfetto.dev), memory.csv, report.txt and, where Linux' `perf` may count, perf.txt
# with the functions that take most of the time.
set -euo pipefail
usage() { sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "${BASH_SOURCE[0]}"; }
case "${1:-}" in
    nlsq | nuts) method=$1 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
esac
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
config=${1:-}
[ $# -eq 0 ] || shift

# shellcheck source=scripts/setup.sh
source "$here/scripts/setup.sh" --build
(cd "$here" && cargo build --release --locked)
program=$here/target/release/homodyne-mpi
mkdir -p profile

if [ -z "$config" ]; then
    config=profile/profile.yaml
    frames=2000
    [ "$method" = nlsq ] || frames=300
    sed 's/frames: 600/frames: '$frames'/; s|file_path:.*|file_path: profile.h5|' "$here/configs/quickstart.yaml" >"$config"
    "$program" simulate --config "$config" --out profile/profile.h5 --layout native --quiet --force
fi

launch=()
if [ "${RANKS:-1}" -gt 1 ]; then
    mpi_environment "$RANKS"
    launch=("$(mpi_launcher)" -n "$RANKS")
fi
fit=("$program" --config "$config" --method "$method" --output-dir profile/results --resume never
    --set optimization.streaming.enable_checkpoints=false "$@")
"${launch[@]}" "${fit[@]}" --trace profile/trace.json --memory-profile profile/memory.csv --force | tee profile/report.txt

# perf may be missing or not allowed to count
if command -v perf >/dev/null 2>&1 && perf record -q -o profile/perf.probe -- true 2>/dev/null; then
    rm -f profile/perf.probe
    perf record -q -g -o profile/perf.data -- "${fit[@]}" --quiet
    perf report -i profile/perf.data --stdio --no-children -g none --percent-limit 0.5 >profile/perf.txt 2>/dev/null
    echo "functions that take most of the time: profile/perf.txt"
else
    echo "perf can't count here, so there is no list of functions"
fi
echo "trace: profile/trace.json (ui.perfetto.dev); memory: profile/memory.csv; phases: profile/report.txt"
