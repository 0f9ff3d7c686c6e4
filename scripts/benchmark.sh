#!/usr/bin/env bash
# Measures this machine and whole fits of made-up data of several sizes.
#
#     ./scripts/benchmark.sh            half a minute for the machine, then fits of 1, 10 and 100 million points
#     ./scripts/benchmark.sh --quick    a few seconds
#     RANKS=4 ./scripts/benchmark.sh    fits on so many ranks of this machine
#
# Writes figures as JSON to ./benchmark. Data files go to TMPDIR: 400 MB for 100 million points.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
quick=() sizes=(1e6 1e7 1e8)
case "${1:-}" in
    '') ;;
    --quick) quick=(--quick) sizes=(1e5 1e6) ;;
    *) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "${BASH_SOURCE[0]}"; [ "$1" = --help ] || exit 2; exit 0 ;;
esac

# shellcheck source=scripts/setup.sh
source "$here/scripts/setup.sh" --build
(cd "$here" && cargo build --release --locked)
program=$here/target/release/homodyne-mpi
mkdir -p benchmark
launch=()
if [ "${RANKS:-1}" -gt 1 ]; then
    mpi_environment "$RANKS"
    launch=("$(mpi_launcher)" -n "$RANKS")
fi

"$program" benchmark "${quick[@]}" --json benchmark/machine.json --force
for parameters in 3 7; do
    for points in "${sizes[@]}"; do
        printf '\n'
        "${launch[@]}" "$program" benchmark --points "$points" --parameters "$parameters" \
            --json "benchmark/fit-$points-$parameters.json" --force
    done
done
printf '\nFigures: benchmark/*.json\n'
