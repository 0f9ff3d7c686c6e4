#!/usr/bin/env bash
# One or several nodes with NVIDIA GPUs: one rank a GPU.
#
#     sbatch --nodes=2 gpu.sh config.yaml [options of homodyne-mpi]
#
# `homodyne-mpi device status` on such a node tells what is there and what is missing, `device check` that it computes rightly.
# Edit: account, partition, GPUs and cores of a node, modules.
#SBATCH --job-name=homodyne-gpu
#SBATCH --account=ACCOUNT
#SBATCH --partition=PARTITION
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4          # ranks: one a GPU
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=16           # threads of a rank: the node's cores, divided by its GPUs
#SBATCH --mem=0                      # all memory of the nodes; the program uses at most 80 % of what the job has
#SBATCH --time=01:00:00
#SBATCH --output=homodyne-%j.log
set -euo pipefail

# module load openmpi hdf5 cuda/12   # cuda: for libnvrtc.so, which compiles the kernels in the first job
program=${HOMODYNE_MPI:-homodyne-mpi}
mpi=${HOMODYNE_MPI_PLUGIN:-pmix}     # pmi2 for MPICH and its kin; `srun --mpi=list` names what is there

# every task sees the GPU dealt to it alone; with --device cuda a rank without one ends the job instead of using its CPU
exec srun --mpi="$mpi" --cpus-per-task="$SLURM_CPUS_PER_TASK" --gpus-per-task=1 --cpu-bind=cores \
    --kill-on-bad-exit=1 "$program" --device cuda --config "$@"
