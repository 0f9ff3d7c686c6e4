#!/usr/bin/env bash
# A private Slurm of two nodes on this machine, for tests: own folder, ports and munge key. Only processes that it has started
# itself are ever signalled: those of the pid files in its folder, and what its nodes have left behind for a job, which is known
# by the configuration in that folder that it has been started with.
#
#     cluster.sh start FOLDER    starts it; `export SLURM_CONF=FOLDER/slurm.conf` then leads srun, sbatch … to it
#     cluster.sh stop FOLDER     ends it
#     cluster.sh node FOLDER N   starts the daemon of node N (1 or 2) again
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

# The main of several processes that a pid file names, if it is still there.
pid_of() {
    local pid
    [ -s "$1" ] && pid=$(cat "$1") && kill -0 "$pid" 2>/dev/null && printf '%s\n' "$pid"
}

# So many ports that nobody listens on.
free_ports() {
    python3 - "$1" <<'PYTHON' 2>/dev/null || seq $((20000 + RANDOM % 20000)) 1 $((60000)) | head -n "$1"
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print("\n".join(str(s.getsockname()[1]) for s in sockets))
PYTHON
}

configure() {
    local host user ports cpus memory
    host=$(hostname -s)
    user=$(id -un)
    mapfile -t ports < <(free_ports 3)
    cpus=${SLURM_TEST_CPUS:-4}
    memory=${SLURM_TEST_MEMORY:-4000}
    cat >"$folder/slurm.conf" <<CONF
ClusterName=homodyne
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
AuthType=auth/munge
# how long a job's credentials are good, and therefore how long a job that is queued again rests: two minutes, usually
AuthInfo=socket=$folder/munge/socket,cred_expire=10
CredType=cred/munge
SlurmUser=$user
SlurmdUser=$user
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
TmpFS=$folder/tmp.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=pmix
ReturnToService=2
SlurmdParameters=config_overrides
JobRequeue=1
# PMIx and Open MPI name their files by the number of a job: one of another cluster must not have the same
FirstJobId=$((1 + (RANDOM << 10) + RANDOM % 1024))
MailProg=/bin/true
SchedulerParameters=sched_interval=1,bf_interval=1
# a node that is silent for so long is down, and its jobs end
SlurmdTimeout=${SLURM_TEST_SILENCE:-10}
InactiveLimit=0
KillWait=5
MinJobAge=300
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[1]} CPUs=$cpus RealMemory=$memory Gres=gpu:2
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[2]} CPUs=$cpus RealMemory=$memory Gres=gpu:2
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
    # two GPUs a node, by files that are always there
    printf 'NodeName=n[1-2] Name=gpu File=%s\n' /dev/null /dev/zero >"$folder/gres.conf"
}

start_node() {
    SLURM_CONF=$folder/slurm.conf slurmd -N "n$1"
}

start() {
    mkdir -p "$folder"/{munge,state,spool.n1,spool.n2,tmp.n1,tmp.n2}
    chmod 700 "$folder/munge"
    [ -e "$folder/munge/key" ] || head -c 1024 /dev/urandom >"$folder/munge/key"
    chmod 600 "$folder/munge/key"
    munged --force --num-threads=1 --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    configure
    export SLURM_CONF=$folder/slurm.conf
    slurmctld -c
    start_node 1
    start_node 2
    local end=$((SECONDS + 20))
    while [ "$SECONDS" -lt "$end" ]; do
        [ "$(timeout 3 sinfo -h -t idle -o %D -p main 2>/dev/null)" = 2 ] && return 0
        sleep 0.1
    done
    echo "error: the nodes don't come up; see $folder/*.log" >&2
    tail -n 5 "$folder"/*.log >&2
    stop
    return 1
}

# Jobs first, then what runs them.
stop() {
    local file pid
    export SLURM_CONF=$folder/slurm.conf
    if pid_of "$folder/slurmctld.pid" >/dev/null; then
        timeout 5 scancel --full --signal=KILL --user="$(id -un)" 2>/dev/null || true
        for _ in $(seq 50); do
            [ -z "$(timeout 2 squeue -h 2>/dev/null)" ] && break
            sleep 0.1
        done
    fi
    for file in "$folder"/slurmctld.pid "$folder"/slurmd.n1.pid "$folder"/slurmd.n2.pid "$folder"/munge/pid; do
        # nothing that they would still write is of use to anybody
        ! pid=$(pid_of "$file") || kill -9 "$pid" 2>/dev/null || true
    done
    # what a daemon has started for a job outlives it
    for file in $(grep -lx slurmstepd /proc/[0-9]*/comm 2>/dev/null); do
        pid=${file#/proc/}
        pid=${pid%/comm}
        ! grep -qzxF "SLURM_CONF=$folder/slurm.conf" "/proc/$pid/environ" 2>/dev/null || kill -9 "$pid" 2>/dev/null || true
    done
}

[ $# -ge 2 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
folder=$(mkdir -p "$2" && cd "$2" && pwd)
case "$1" in
    start) start ;;
    stop) stop ;;
    node) start_node "$3" ;;
    *) sed -n '2,8p' "$0" >&2; exit 2 ;;
esac
