#!/usr/bin/env bash
# Checks the code as it is checked everywhere: formatting, lints, tests.
#
#     ./scripts/test.sh                   everything but the expensive sweeps
#     ./scripts/test.sh --ignored         those too
#     ./scripts/test.sh FILTER -- ...     further arguments go to cargo test; a FILTER leaves out the builds without MPI and with
#                                         another MPI, of which only what differs is tested
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo_arguments=()
test_arguments=()
filtered=
while [ $# -gt 0 ]; do
    case "$1" in
        --ignored) test_arguments+=(--include-ignored) ;;
        --)
            shift
            test_arguments+=("$@")
            filtered=yes
            break
            ;;
        [!-]* | --test) filtered=yes; cargo_arguments+=("$1") ;;
        *) cargo_arguments+=("$1") ;;
    esac
    shift
done

say() { printf '\n==> %s\n' "$*"; }

# Whether a component of the toolchain is there. Without it a user's checks go on; the CI's don't.
component() {
    cargo "$1" --version >/dev/null 2>&1 && return 0
    if [ "${CI:-}" = true ]; then
        echo "error: cargo $1 is missing: rustup component add $2" >&2
        exit 1
    fi
    echo "cargo $1 is missing, so this check is left out (rustup component add $2)"
    return 1
}

say "Looking for a C compiler, MPI, HDF5 and libclang, installing what is missing"
# shellcheck source=scripts/setup.sh
source scripts/setup.sh --tests

say "Formatting"
if component fmt rustfmt; then
    cargo fmt --check
fi

say "Lints"
if component clippy clippy; then
    cargo clippy --release --all-targets --locked -- -D warnings
fi

say "Tests"
mpi_environment 4 # the tests start up to four ranks
MPIRUN=$(mpi_launcher)
export MPIRUN
cargo test --release --locked "${cargo_arguments[@]}" -- "${test_arguments[@]}"
[ -z "$filtered" ] || exit 0

# The program itself is compiled with little optimisation, which takes less time: the bits are the same.
quick=(--release --locked --config 'profile.release.package.homodyne-mpi.opt-level=1')

say "Tests without MPI"
cargo clippy "${quick[@]}" --all-targets --no-default-features -- -D warnings
cargo test "${quick[@]}" --no-default-features --test without_mpi --test golden_fit

if other=$(other_mpicc); then
    say "Tests with another MPI ($other)"
    # its bindings beside those of the usual MPI, not in their place
    quick+=(--config 'profile.release.package.mpi-sys.opt-level=1')
    other_test() { MPICC=$other MPIRUN=${other/mpicc/mpirun} cargo test "${quick[@]}" "$@"; }
    other_test --test mpi
    other_test --test slurm -- two_nodes every_template
fi

# what is left is the usual program
cargo build --release --locked
