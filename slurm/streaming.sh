#!/usr/bin/env bash
# Hundreds of millions of points and more, in jobs that are shorter than the fit: before its time is over the program saves
# where it is and ends with exit code 75; the job then queues itself again and goes on from there, until it is done. It does the
# same when it is preempted or told to stop by `scancel --signal=USR1 JOB`; `scancel JOB` ends it. The result has the same bits as that of a
# job that was left alone.
#
#     sbatch --nodes=8 streaming.sh config.yaml [options of homodyne-mpi]
#     MAX_RESTARTS=100 sbatch streaming.sh config.yaml
#
# Checkpoints and nodes go to `optimization.streaming.checkpoint_dir` of the configuration, by default `checkpoints` in the
# folder of results: it must be on a file system that all nodes see.
# Edit: account, partition, the shape of a node, modules.
#SBATCH --job-name=homodyne-streaming
#SBATCH --account=ACCOUNT
#SBATCH --partition=PARTITION
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2          # ranks: one a socket
#SBATCH --cpus-per-task=32           # threads of a rank: the cores of a socket
#SBATCH --mem=0                      # all memory of the nodes; the program uses at most 80 % of what the job has
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120          # a warning this long before the end, should the program not have stopped by itself
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=homodyne-%j.log
set -uo pipefail

# module load openmpi hdf5           # what the program was built with
program=${HOMODYNE_MPI:-homodyne-mpi}
mpi=${HOMODYNE_MPI_PLUGIN:-pmix}     # pmi2 for MPICH and its kin; `srun --mpi=list` names what is there
most=${MAX_RESTARTS:-50}             # times that the job may queue itself again
restarts=${SLURM_RESTART_COUNT:-0}

srun --mpi="$mpi" --cpus-per-task="$SLURM_CPUS_PER_TASK" --distribution=block:block --cpu-bind=cores \
    --kill-on-bad-exit=1 "$program" --strategy streaming --config "$@" &
step=$!
# signals reach this script alone: the ranks are told, and this waits until they have saved
trap 'scancel --signal=USR1 "$SLURM_JOB_ID.0" 2>/dev/null' USR1 TERM
# a signal ends the waiting, not the step
while kill -0 "$step" 2>/dev/null; do wait "$step"; done
wait "$step"
code=$?

case $code in
    0) echo "homodyne: done after $restarts restart(s)" ;;
    75)
        if ! scontrol --oneliner show job "$SLURM_JOB_ID" | grep -q ' JobState=RUNNING '; then
            # a job that is cancelled is over; one that is preempted Slurm itself queues again
            echo "homodyne: NOT done, the job is ended from outside; if it was cancelled, submitting this again goes on"
            exit 75
        elif [ "$restarts" -ge "$most" ]; then
            echo "homodyne: NOT done after $restarts restarts: allow more with MAX_RESTARTS, or more time; submitting this again goes on"
            exit 75
        fi
        if scontrol requeue "$SLURM_JOB_ID"; then
            echo "homodyne: not done yet, restart $((restarts + 1)) of at most $most is queued"
        else
            echo "homodyne: NOT done, and the job can't be queued again; submitting it again goes on"
            exit 75
        fi
        ;;
    *)
        echo "homodyne: FAILED with exit code $code after $restarts restart(s), see above; it isn't started again"
        exit "$code"
        ;;
esac
