#!/usr/bin/env bash
# One node, CPU: data that fit into its memory.
#
#     sbatch one-node.sh config.yaml [--output-dir DIR and other options of homodyne-mpi]
#
# Edit: account, partition, the shape of a node, modules.
#SBATCH --job-name=homodyne
#SBATCH --account=ACCOUNT
#SBATCH --partition=PARTITION
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2          # ranks: one a socket
#SBATCH --cpus-per-task=32           # threads of a rank: the cores of a socket
#SBATCH --mem=0                      # all memory of the node; the program uses at most 80 % of what the job has
#SBATCH --time=01:00:00
#SBATCH --output=homodyne-%j.log
set -euo pipefail

# module load openmpi hdf5           # what the program was built with
program=${HOMODYNE_MPI:-homodyne-mpi}
mpi=${HOMODYNE_MPI_PLUGIN:-pmix}     # pmi2 for MPICH and its kin; `srun --mpi=list` names what is there

# srun doesn't take cpus-per-task over from sbatch since Slurm 22.05
exec srun --mpi="$mpi" --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 "$program" --config "$@"
