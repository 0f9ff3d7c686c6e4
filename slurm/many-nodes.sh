#!/usr/bin/env bash
# Several nodes, CPU: every rank holds its share of the data.
#
#     sbatch --nodes=8 many-nodes.sh config.yaml [options of homodyne-mpi]
#
# `homodyne-mpi --config config.yaml --dry-run` tells beforehand how much memory the data need. With `distributed: { io: parallel }`
# in the configuration all nodes read the file, not only the first.
# Edit: account, partition, the shape of a node, modules.
#SBATCH --job-name=homodyne
#SBATCH --account=ACCOUNT
#SBATCH --partition=PARTITION
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2          # ranks: one a socket
#SBATCH --cpus-per-task=32           # threads of a rank: the cores of a socket
#SBATCH --mem=0                      # all memory of the nodes; the program uses at most 80 % of what the job has
#SBATCH --time=02:00:00
#SBATCH --output=homodyne-%j.log
set -euo pipefail

# module load openmpi hdf5           # what the program was built with
program=${HOMODYNE_MPI:-homodyne-mpi}
mpi=${HOMODYNE_MPI_PLUGIN:-pmix}     # pmi2 for MPICH and its kin; `srun --mpi=list` names what is there

# a rank that ends with an error ends the job; ranks are bound to their cores, sockets filled one after the other
exec srun --mpi="$mpi" --cpus-per-task="$SLURM_CPUS_PER_TASK" --distribution=block:block --cpu-bind=cores \
    --kill-on-bad-exit=1 "$program" --config "$@"
