#!/usr/bin/env bash
# Many data files with one configuration: a job array, a file a task, results and checkpoints of each in a folder of its own.
#
#     ls /data/run7/*.hdf > files.txt
#     sbatch --array=1-"$(wc -l < files.txt)"%8 array.sh config.yaml files.txt [options of homodyne-mpi]
#
# %8: at most eight at a time. Results are in results/NAME/nlsq for data file NAME.hdf.
# Edit: account, partition, cores and memory of a task, modules.
#SBATCH --job-name=homodyne-array
#SBATCH --account=ACCOUNT
#SBATCH --partition=PARTITION
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=32G                    # the program uses at most 80 % of it
#SBATCH --time=00:30:00
#SBATCH --output=homodyne-%A-%a.log
set -euo pipefail

# module load openmpi hdf5           # what the program was built with
program=${HOMODYNE_MPI:-homodyne-mpi}
mpi=${HOMODYNE_MPI_PLUGIN:-pmix}     # pmi2 for MPICH and its kin; `srun --mpi=list` names what is there

config=$1 list=$2
shift 2
file=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$list")
[ -n "$file" ] || { echo "error: $list has no line $SLURM_ARRAY_TASK_ID" >&2; exit 2; }
name=$(basename "${file%.*}")
echo "$file -> results/$name"
exec srun --mpi="$mpi" --cpus-per-task="$SLURM_CPUS_PER_TASK" "$program" --config "$config" --data-file "$file" \
    --output-dir "results/$name" "$@"
