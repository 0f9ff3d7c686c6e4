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

mpi_environment 4 # the tests start up to four ranks
MPIRUN=$(mpi_launcher)
export MPIRUN

if [ -n "$filtered" ]; then
    cargo test --release --locked "${cargo_arguments[@]}" -- "${test_arguments[@]}"
    exit 0
fi

say "Building"
cargo test --release --locked --no-run "${cargo_arguments[@]}"

say "Lints, builds without MPI and with another MPI"
# In a folder of their own, which begins with the dependencies of the usual build: there is one program of a name to a folder. The
# program itself is compiled with little optimisation there, which takes less time: the bits are the same.
beside=target/beside
mkdir -p $beside/release
for part in deps build .fingerprint; do
    [ -d $beside/release/$part ] || cp -a target/release/$part $beside/release/
done
quick=(--release --locked --target-dir "$beside" --config 'profile.release.package.homodyne-mpi.opt-level=1')
if component clippy clippy; then
    cargo clippy --release --locked --target-dir "$beside" --all-targets -- -D warnings
    cargo clippy "${quick[@]}" --all-targets --no-default-features -- -D warnings
fi
cargo test "${quick[@]}" --no-default-features --test program --no-run
other=$(other_mpicc || true)
if [ -n "$other" ]; then
    # its bindings beside those of the usual MPI, not in their place
    others=("${quick[@]}" --config 'profile.release.package.mpi-sys.opt-level=1')
    MPICC=$other cargo test "${others[@]}" --test program --no-run
fi

say "Tests"
failed=
tests() { cargo test --release --locked "${cargo_arguments[@]}" "$@" || failed=yes; }
# those in a Slurm alone: beside others their jobs run into their time limits
tests --test program -- "${test_arguments[@]}" --skip slurm::
tests --test program -- "${test_arguments[@]}" slurm::
tests --lib --bins --test files -- "${test_arguments[@]}"
tests --test ratio -- "${test_arguments[@]}"

say "Tests without MPI"
cargo test "${quick[@]}" --no-default-features --test program -- without_mpi:: golden_fit:: || failed=yes

if [ -n "$other" ]; then
    say "Tests with another MPI ($other)"
    MPICC=$other MPIRUN=${other/mpicc/mpirun} cargo test "${others[@]}" --test program -- \
        mpi:: slurm::two_nodes slurm::every_template || failed=yes
fi
[ -z "$failed" ]
