#!/usr/bin/env bash
# A SLURM of one machine for the tests: no systemd, every daemon runs as the caller, all state in one folder.
#
#   tests/slurm/cluster.sh start FOLDER    configure, start, wait until a job runs
#   tests/slurm/cluster.sh stop FOLDER     cancel what is left and stop the daemons started here
#
# Then `export SLURM_CONF=FOLDER/slurm.conf PATH=FOLDER/bin:$PATH`. Needs Debian's munge, slurmctld, slurmd and
# slurm-client. FOLDER must not lie below a folder that somebody else can write to: munged refuses that.
set -euo pipefail
command=$1
folder=$2
host=$(hostname -s)
port=$((20000 + 2 * ($$ % 10000))) # of this cluster's daemons; others may run beside it
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$folder/slurm.conf

alive() { [ -s "$folder/$1.pid" ] && kill -0 "$(cat "$folder/$1.pid")" 2>/dev/null; }

until_true() { # seconds, command: whether it came true in time
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

stopped() { ! alive "$1"; }

stop() {
    if alive slurmctld && alive munged; then # else a slurmstepd is left behind
        timeout 20 scancel --user "$(id -un)" || true
        until_true 20 sh -c '[ -z "$(squeue --noheader)" ]' || true
    fi
    for daemon in slurmd slurmctld munged; do
        if alive $daemon; then
            kill "$(cat "$folder/$daemon.pid")"
            until_true 20 stopped $daemon || kill -9 "$(cat "$folder/$daemon.pid")"
        fi
    done
}

configure() {
    umask 022
    mkdir -p "$folder"/{bin,log,spool,state}
    install -d -m 0700 "$folder/munge"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
    # cred_expire is also how long a requeued job waits. The scheduler's intervals are short, or jobs wait for its
    # next round. config_overrides: as many processors as asked for, whatever the machine has. proctrack/pgid sends
    # signals to the task alone. MinJobAge keeps finished jobs in scontrol, where the sacct below looks. MaxArraySize is small for a test.
    cat >"$SLURM_CONF" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=1,bf_interval=1
ReturnToService=2
KillWait=5
MinJobAge=3600
MaxArraySize=3
InactiveLimit=0
PropagateResourceLimits=NONE
DefMemPerCPU=512
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    # submitit learns from sacct that a job died without a result, and sacct needs a database.
    cat >"$folder/bin/sacct" <<'PYTHON'
#!/usr/bin/env python3
"""Answers `sacct -o JobID,State,NodeList --parsable2 -j ID ...` from scontrol."""
import re, subprocess, sys

print("JobID|State|NodeList")
for job in [value for key, value in zip(sys.argv, sys.argv[1:]) if key == "-j"]:
    shown = subprocess.run(["scontrol", "-o", "show", "job", job], capture_output=True, text=True).stdout
    for line in shown.splitlines():
        found = dict(re.findall(r"(\w+)=(\S+)", line))
        task = found.get("ArrayTaskId")
        task = task if task is None or task.isdigit() else f"[{task}]"
        name = found["JobId"] if task is None else f"{found['ArrayJobId']}_{task}"
        print(f"{name}|{found.get('JobState', 'UNKNOWN')}|{found.get('NodeList', '')}")
PYTHON
    chmod +x "$folder/bin/sacct"
}

start() {
    configure
    munged --key-file="$folder/munge/key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munge/munged.log" --seed-file="$folder/munge/seed"
    slurmctld
    slurmd -N "$host"
    until_true 30 sh -c "sinfo --noheader --format %T | grep --quiet idle" && timeout 60 srun true || {
        tail -n 30 "$folder"/log/*.log >&2
        stop
        exit 1
    }
}

"$command"
