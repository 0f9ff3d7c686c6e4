#!/usr/bin/env bash
# Builds the program, makes a small data set of known truth, fits it on two ranks and shows how well the truth came
# back. Everything it writes is in ./target and ./quickstart. Ends with the exit code of the fit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ranks=2
folder=quickstart
data=$folder/sample.hdf
truth=$folder/sample_truth.json
config=configs/quickstart.yaml

say() { printf '\n==> %s\n' "$*"; }

say "1/4 Looking for a C compiler, MPI, HDF5 and libclang, installing what is missing"
# shellcheck source=scripts/setup.sh
source scripts/setup.sh --build

say "2/4 Building (a few minutes the first time)"
cargo build --release --locked
target=$(cargo metadata --no-deps --offline --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
program=$target/release/homodyne-mpi

say "3/4 Simulating laminar flow, 5 angles x 600 frames with noise, as an APS-U file: $data"
mkdir -p "$folder"
rm -f "$data" "$truth"
"$program" simulate --config "$config" --out "$data" --layout aps-u

say "4/4 Fitting it on $ranks ranks, without start values, and comparing with the truth"
mpi_environment "$ranks"
launcher=$(mpi_launcher)
code=0
"$launcher" -n "$ranks" "$program" --config "$config" --data-file "$data" --output-dir "$folder/results" \
    --truth "$truth" </dev/null || code=$?

if [ "$code" -eq 0 ] || [ "$code" -eq 4 ]; then
    cat <<END

Results: $PWD/$folder/results/nlsq; open report.html in a browser. Try next:
    $program inspect $PWD/$data
    another truth: edit "simulation" in $PWD/$config, then run this script again
    your own data: README.md, "Your own data"
END
else
    printf '\nThe fit ended with exit code %s (README.md lists them).\n' "$code" >&2
fi
exit "$code"
