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

# What follows goes on side by side: many tests wait for a Slurm, a launcher or a browser more than they compute. Whoever waits here
# for others' builds would have nothing to do.
logs=$(mktemp -d)
trap 'rm -rf "$logs"; kill $(jobs -p) 2>/dev/null || true' EXIT

# Builds beside the tests' own, from the same dependencies, since cargo lets one process at a time into a folder. The program itself is
# compiled without optimisation there, which takes a sixth of the time: the bits are the same.
beside=target/beside
mkdir -p $beside/release
for part in deps build .fingerprint; do
    [ -d $beside/release/$part ] || cp -r target/release/$part $beside/release/
done
quick=(--release --locked --target-dir "$beside" --config 'profile.release.package.homodyne-mpi.opt-level=0')
other=$(other_mpicc || true)
# with another MPI its bindings are beside those of the usual one, not in their place
others=("${quick[@]}" --config 'profile.release.package.mpi-sys.opt-level=0')

builds_beside() {
    if component clippy clippy; then
        cargo clippy --release --locked --target-dir "$beside" --all-targets -- -D warnings
        cargo clippy "${quick[@]}" --all-targets --no-default-features -- -D warnings
    fi
    cargo test "${quick[@]}" --no-default-features --test program --no-run
    if [ -n "$other" ]; then
        MPICC=$other cargo test "${others[@]}" --test program --no-run
    fi
}

# Runs a part of the test program in the background and keeps what it prints.
in_background() {
    local name="$1"
    shift
    "$@" >"$logs/$name" 2>&1 &
    background[$name]=$!
}

# Waits for it, shows what it printed, and fails as it did.
finished() {
    local code=0
    wait "${background[$1]}" || code=$?
    cat "$logs/$1"
    return $code
}
declare -A background

say "Tests; beside them lints, builds without MPI and with another MPI, tests in a Slurm and of the GPU kernels"
outside=(slurm:: gpu::)
in_background builds nice -n 19 bash -euo pipefail -c "$(declare -f component builds_beside); $(declare -p quick others other beside); builds_beside"
in_background outside cargo test --release --locked --test program -- "${test_arguments[@]}" "${outside[@]}"
failed=
tests() { cargo test --release --locked "${cargo_arguments[@]}" "$@" || failed=yes; }
# twice as many as processors: most of these wait for processes of theirs
tests --test program -- "${test_arguments[@]}" "${outside[@]/#/--skip=}" --test-threads=$((2 * $(nproc)))
tests --lib --bins --test files -- "${test_arguments[@]}"
tests --test ratio -- "${test_arguments[@]}"
say "Tests in a Slurm and of the GPU kernels"
finished outside || failed=yes
say "Lints, builds without MPI and with another MPI"
finished builds || failed=yes
[ -z "$failed" ] || exit 1

say "Tests without MPI"
cargo test "${quick[@]}" --no-default-features --test program -- without_mpi:: golden_fit::

if [ -n "$other" ]; then
    say "Tests with another MPI ($other)"
    MPICC=$other MPIRUN=${other/mpicc/mpirun} cargo test "${others[@]}" --test program -- mpi:: slurm::two_nodes slurm::every_template
fi
