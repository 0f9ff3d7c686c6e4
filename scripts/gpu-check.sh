#!/usr/bin/env bash
# For a machine with a GPU: builds the program, shows what it finds, checks that the GPU computes what the CPU does on data made
# up anew, and says how near its kernels come to what the device could do. Some minutes; without network, once the crates
# have been fetched (`cargo fetch --locked`) or the program has been built.
#
#     ./scripts/gpu-check.sh              all of it
#     ./scripts/gpu-check.sh --quick      less of it
#     ./scripts/gpu-check.sh --seed N     the data of an earlier check
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program=target/release/homodyne-mpi
if ! CARGO_NET_OFFLINE=true cargo build --release --locked --quiet; then
    [ -x "$program" ] || { echo "error: the program can't be built here: build it where there is a network, and bring target/release/homodyne-mpi" >&2; exit 1; }
    echo "warning: the program can't be built here; $program is used as it is" >&2
fi
"$program" device status
echo
HOMODYNE_LOG_COMPILES=1 "$program" device check "$@"
