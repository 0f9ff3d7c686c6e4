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
source scripts/setup.sh --build

say "Formatting"
if component fmt rustfmt; then
    cargo fmt --check
fi

mpi_environment 4 # the tests start up to four ranks
MPIRUN=$(mpi_launcher)
export MPIRUN

if [ -n "$filtered" ]; then
    source scripts/setup.sh --tests
    cargo test --release --locked --workspace "${cargo_arguments[@]}" -- "${test_arguments[@]}"
    exit 0
fi

say "Building, and meanwhile installing what only the tests need"
mkdir -p target/logs
./scripts/setup.sh --tests >target/logs/setup 2>&1 &
setup=$!
trap 'kill $setup 2>/dev/null || true' EXIT
cargo test --release --locked --no-run "${cargo_arguments[@]}"
wait $setup || true
source scripts/setup.sh --tests

# The rest is built and checked while tests wait for their jobs, with what time those leave. It has a folder of its own, which
# begins with what the usual build has made: there is one program of a name to a folder. Without MPI little is compiled again, and
# the library among it with no optimisation: its bits are the same.
beside=target/beside
mkdir -p $beside/release
for part in deps build .fingerprint; do
    rm -rf $beside/release/$part
    cp -a target/release/$part $beside/release/
done
beside=(--release --locked --target-dir "$beside")
alone=("${beside[@]}" --no-default-features --config 'profile.release.package.homodyne-mpi-library.opt-level=0')
other=$(other_mpicc || true)
# its bindings beside those of the usual MPI, not in their place
others=("${beside[@]}" --config 'profile.release.package.mpi-sys.opt-level=1')

in_spare_time() { if command -v chrt >/dev/null; then chrt --idle 0 "$@"; else nice -n 19 "$@"; fi; }

build_the_rest() {
    in_spare_time cargo test "${beside[@]}" --workspace --lib --no-run
    if component clippy clippy; then
        in_spare_time cargo clippy "${beside[@]}" --workspace --all-targets -- -D warnings
    fi
    in_spare_time cargo rustc "${alone[@]}" --bin homodyne-mpi -- -D warnings
    in_spare_time cargo test "${alone[@]}" --test program --no-run
    [ -z "$other" ] || MPICC=$other in_spare_time cargo test "${others[@]}" --test program --no-run
}

build_the_rest >target/logs/rest 2>&1 &
rest=$!
cargo test --release --locked --test program -- "${test_arguments[@]}" --test-threads 1 slurm:: >target/logs/slurm 2>&1 &
slurm=$!
trap 'kill $rest $slurm 2>/dev/null || true' EXIT

failed=
say "Tests of the program"
cargo test --release --locked --test program "${cargo_arguments[@]}" -- \
    "${test_arguments[@]}" --skip slurm:: || failed=yes

say "Tests in a Slurm, which ran meanwhile"
wait $slurm || failed=yes
cat target/logs/slurm

say "Lints, the library's tests, builds without MPI and with another MPI, made meanwhile"
wait $rest || failed=yes
cat target/logs/rest
[ -z "$failed" ] || exit 1

# Without MPI, and with another one, where that is there: what differs.
test_the_rest() {
    local failed=
    cargo test "${alone[@]}" --test program -- without_mpi:: golden_fit:: || failed=yes
    [ -z "$other" ] || MPICC=$other MPIRUN=${other/mpicc/mpirun} cargo test "${others[@]}" --test program -- \
        mpi:: slurm::two_nodes slurm::every_template || failed=yes
    [ -z "$failed" ]
}
test_the_rest >target/logs/beside 2>&1 &
rest=$!

say "Tests of the library"
cargo test "${beside[@]}" --workspace --lib "${cargo_arguments[@]}" -- "${test_arguments[@]}" || failed=yes
cargo test --release --locked --bins --test files "${cargo_arguments[@]}" -- "${test_arguments[@]}" || failed=yes

say "Tests without MPI and with another MPI ($other), which ran meanwhile"
wait $rest || failed=yes
cat target/logs/beside

# of speed, by itself
cargo test --release --locked --test ratio "${cargo_arguments[@]}" -- "${test_arguments[@]}" || failed=yes
[ -z "$failed" ]
