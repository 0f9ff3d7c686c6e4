//! What stands below the help texts.

/// Below the help of the fit.
pub(super) const EXAMPLES: &str = "\
Examples:
  homodyne-mpi --config flow.yaml
      fit the data file that flow.yaml names, results in ./homodyne_results/nlsq
  srun homodyne-mpi --config flow.yaml --output-dir run7 --data-file scan7.hdf
      the same over all ranks of a job, with another file and folder
  homodyne-mpi --config flow.yaml --set optimization.nlsq.max_iterations=200 \\
               --set 'initial_parameters.values=null'
      change settings without touching the file
  srun homodyne-mpi --config flow.yaml --dry-run
      what the ranks would get and about how long it would take
  srun homodyne-mpi --config flow.yaml --trace trace.json --memory-profile memory.csv
      with a record of what every rank did when, and of its memory
  homodyne-mpi inspect scan7.hdf
      show what a data file holds
  homodyne-mpi config init --mode laminar_flow --from-data scan7.hdf -o flow.yaml
      write a configuration for it, to be completed
  homodyne-mpi config check flow.yaml
      say all that is wrong with a configuration, and what a fit would use
  homodyne-mpi simulate --config flow.yaml --out simulated.h5
      make data to try a fit on
  homodyne-mpi convert scan7.hdf scan7.h5
      write a data file in the layout for large runs
  homodyne-mpi compare run7 run8
      put two results side by side
  homodyne-mpi checkpoint list
      show the checkpoints in ./homodyne_results/checkpoints and whether they are whole

Exit codes:
  0 converged   2 command line or configuration wrong   3 input data wrong or missing
  4 finished but not converged   5 a rank or I/O failed
  75 stopped with a checkpoint: give the same command again to go on";

/// Below the help of `simulate`.
pub(super) const SIMULATE_EXAMPLES: &str = "\
The `simulation` section of the configuration says what to make:
  simulation:
    frames: 500
    angles: [0, 45, 90]            # degree
    parameters: {D0: 1000, alpha: 0.1, D_offset: 10}
    contrast: 0.3                  # one number, or a list with one per angle
    offset: 1.0
    noise: 0.01                    # standard deviation of c2
    seed: 42

The true values are written beside the data as JSON; give them to a fit by `--truth` to see both side by side.

Examples:
  homodyne-mpi simulate --config flow.yaml --out simulated.h5
  homodyne-mpi simulate --config flow.yaml --out big.h5 --layout native --set simulation.frames=8000
  homodyne-mpi simulate --config flow.yaml --out simulated.h5 --plot
      with pictures of data, model and noise";

/// Below the help of `config check`.
pub(super) const CHECK_EXAMPLES: &str = "\
A file of the Python package `homodyne` can be checked as it is: its keys are known, and those that have no effect here \
are named with the reason. What is wrong, misspelt or not available in this version is shown with its place, all of it at \
once. Exit code 0: a fit can run with this file; 2: it can't, or a key isn't known.

Examples:
  homodyne-mpi config check flow.yaml
  homodyne-mpi config check flow.yaml --strict
      warnings and keys without effect count, too
  homodyne-mpi config check flow.yaml -v
      every key without effect and its reason";

/// Below the help of `config init`.
pub(super) const INIT_EXAMPLES: &str = "\
Without --from-data the values of the experiment are examples, marked by PUT IN YOURS.

Examples:
  homodyne-mpi config init --mode static
      print the file
  homodyne-mpi config init --mode laminar_flow --from-data scan7.hdf -o flow.yaml
      q, dt, angles and frames as the data file has them
  homodyne-mpi config init --mode laminar_flow --full -o flow.yaml
      with every key and its default";

/// Below the help of `benchmark`.
pub(super) const BENCHMARK_EXAMPLES: &str = "\
Every figure is the best of several repetitions, with the median beside it. Rates are pairs of frames per second.

Examples:
  homodyne-mpi benchmark
  homodyne-mpi benchmark --json node.json --threads 1,8,64
  mpirun -n 64 homodyne-mpi benchmark --quick
      with the cost of a reduction over 64 ranks
  srun homodyne-mpi benchmark --points 1e8 --parameters 7
      a whole fit of 100 million points over all ranks; the data file goes to TMPDIR, which all ranks must see";

/// Below the help of `completions`.
pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  homodyne-mpi completions bash > ~/.local/share/bash-completion/completions/homodyne-mpi
  homodyne-mpi completions zsh > ~/.zfunc/_homodyne-mpi
      with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  homodyne-mpi completions fish > ~/.config/fish/completions/homodyne-mpi.fish";

/// Below the help of `inspect`.
pub(super) const INSPECT_EXAMPLES: &str = "\
Examples:
  homodyne-mpi inspect scan7.hdf
  homodyne-mpi inspect scan7.hdf --q 0.0054
      which matrices a fit at this wavevector would take
  homodyne-mpi inspect scan7.hdf --config flow.yaml
      which ones a fit with this configuration would take
  homodyne-mpi inspect scan7.hdf --plot-dir pictures
      with a picture of every matrix";

/// Below the help of `checkpoint list`.
pub(super) const LIST_EXAMPLES: &str = "\
Every file is read and verified; nothing is changed. Oldest first, so that a run goes on from the last valid one.

Examples:
  homodyne-mpi checkpoint list
  homodyne-mpi checkpoint list run7/checkpoints --json checkpoints.json";

/// Below the help of `checkpoint verify`.
pub(super) const VERIFY_EXAMPLES: &str = "\
Exit code 0: every byte is as it was written; 3: one of the files is damaged or of a newer version of the program, or there \
is none.

Examples:
  homodyne-mpi checkpoint verify run7/checkpoints
  homodyne-mpi checkpoint verify run7/checkpoints/checkpoint-000012.h5";

/// Below the help of `convert`.
pub(super) const CONVERT_EXAMPLES: &str = "\
Values are kept as they are; those that are stored in float64 are rounded once, to float32. \
Missing values and dead frames stay what they are. One matrix is in memory at a time. OUT appears \
whole or not at all.

A native file remembers which frames of the measurement it holds: a configuration fits it as it \
fits the file that it was made from. APS-U files have no place for that, nor for the gap and σ.

Examples:
  homodyne-mpi convert old.hdf scan7.h5
  homodyne-mpi convert scan7.hdf ring3.h5 --q 0.0054 --compress
  homodyne-mpi convert scan7.hdf flow.h5 --config flow.yaml
      what a fit with this configuration would take
  homodyne-mpi convert cached_c2.npz scan7.hdf --to aps-u --phi -10:10 --phi 170:190";

/// Below the help of `compare`.
pub(super) const COMPARE_EXAMPLES: &str = "\
A and B are folders with results (or their nlsq folders, or parameters.json in them). Differences \
B − A are in units of σ, the root of the sum of both squared standard errors. Every key of \
the configurations that differs is listed, with what it matters for.

Examples:
  homodyne-mpi compare run1 run2
  homodyne-mpi compare homodyne_results python_results --json difference.json";

/// Below the help of `device`.
pub(super) const DEVICE_EXAMPLES: &str = "\
Examples:
  homodyne-mpi device status
  homodyne-mpi device status --json device.json
  homodyne-mpi device bench
  homodyne-mpi device check
  homodyne-mpi device clear-cache";
