#!/usr/bin/env bash
# A real SLURM cluster on this machine, for tests: two nodes with two made-up GPUs each, on loopback, nothing below /etc.
#
#   eval "$(scripts/slurm_cluster.sh start)"   start it and let this shell use it: sinfo, sbatch, train.py -m ...
#   scripts/slurm_cluster.sh status            its nodes
#   scripts/slurm_cluster.sh stop              end its jobs and its daemons, and remove its folder
#
# Each takes a folder as the second argument, and clusters in several folders stand side by side. SLURM itself is
# installed from Debian's packages if it is missing. Exit code 77 with one line: it cannot be had here, and why.
set -euo pipefail

NO_CLUSTER=77
NODES=(127.0.0.1 127.0.0.2) # names that are addresses: the ranks of a run find each other by them
CPUS=${STEEPEST_SLURM_CPUS:-2} # of each node, whatever this machine has
LONGEST=60 # a socket's name has 107 letters at most; /spool.127.0.0.1/127.0.0.1_<job>.<step> is the rest
PACKAGES=(slurmctld slurmd slurm-client)

main() {
    local action=${1:-} folder=${2:-${TMPDIR:-/tmp}/steepest-slurm-$(id -u)}
    case $action in
    start | stop | status) ;;
    *)
        echo "usage: scripts/slurm_cluster.sh start|stop|status [FOLDER]" >&2
        exit 2
        ;;
    esac
    if [[ $folder =~ [[:space:]\"\'\\#%] ]]; then # SLURM's own files cannot quote them
        echo "slurm_cluster: FOLDER may not hold spaces, quotes, backslashes, # or %; got $folder" >&2
        exit 2
    fi
    root=$(realpath -m "$folder")
    if ((${#root} > LONGEST)); then
        echo "slurm_cluster: FOLDER may have $LONGEST letters, since SLURM's sockets lie below it; got $root" >&2
        exit 2
    fi
    export SLURM_CONF=$root/slurm.conf
    "$action"
}

start() {
    if answers; then
        echo "export SLURM_CONF=$SLURM_CONF"
        return
    fi
    install_slurm
    if [[ -e $root && ! -e $SLURM_CONF && -n $(ls -A "$root") ]]; then
        echo "slurm_cluster: $root is not empty and holds no cluster; allowed is a new folder" >&2
        exit 2
    fi
    end_daemons # of a start that was cut off
    rm -rf "$root"
    mkdir -p "$root/state" "$root/log"
    write_configuration
    trap 'end_daemons' ERR INT TERM
    slurmctld -f "$SLURM_CONF" >"$root/log/start.log" 2>&1 || cannot "slurmctld does not start: $(last_words)"
    local node
    for node in "${NODES[@]}"; do
        start_node "$node" || cannot "slurmd does not start: $(last_words)"
    done
    wait_until 30 are_idle || cannot "the nodes are not idle after 30 s: $(last_words)"
    trap - ERR INT TERM
    echo "export SLURM_CONF=$SLURM_CONF"
}

stop() {
    if [[ ! -e $SLURM_CONF ]]; then
        echo "slurm_cluster: there is none in $root" >&2
        return
    fi
    if answers; then
        timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
        wait_until 20 has_no_steps || true
    fi
    end_daemons
    rm -rf "$root"
}

status() {
    if ! answers; then
        echo "slurm_cluster: none runs in $root" >&2
        exit 1
    fi
    sinfo --Node --long
}

start_node() { slurmd -N "$1" -f "$SLURM_CONF" >>"$root/log/start.log" 2>&1; }

answers() { [[ -e $SLURM_CONF ]] && timeout 10 sinfo --noheader >/dev/null 2>&1; }

are_idle() { [[ $(timeout 10 sinfo --noheader --Node --states=idle 2>/dev/null | wc -l) = "${#NODES[@]}" ]]; }

has_no_steps() { [[ -z $(timeout 10 squeue --noheader --states=running,completing 2>/dev/null) ]]; }

# wait_until SECONDS COMMAND...: whether the command succeeds in time.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

install_slurm() {
    PATH=$PATH:/usr/sbin:/sbin
    is_installed && return
    command -v apt-get >/dev/null || cannot "SLURM is not installed, and there is no apt-get to install it with"
    [[ $(id -u) = 0 ]] || cannot "SLURM is not installed; as root: apt-get install ${PACKAGES[*]}"
    export DEBIAN_FRONTEND=noninteractive
    {
        timeout 300 apt-get -qq update
        timeout 600 apt-get -qq install -y --no-install-recommends "${PACKAGES[@]}"
    } >/dev/null 2>&1 || true
    is_installed || cannot "apt-get cannot install ${PACKAGES[*]}"
}

is_installed() {
    local program
    for program in slurmctld slurmd sbatch; do
        command -v "$program" >/dev/null || return 1
    done
}

write_configuration() {
    local host user ports listen="CommunicationParameters=NoInAddrAny,NoCtldInAddrAny"
    host=$(hostname -s)
    user=$(id -un)
    # srun would listen at the address of the machine's own name, which not every machine knows: then at any.
    getent hosts "$host" >/dev/null || listen=
    mapfile -t ports < <(free_ports)
    ((${#ports[@]} == 3)) || cannot "there are no free ports, or no python3 to find them with"
    cat >"$SLURM_CONF" <<CONF
ClusterName=steepest
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
$listen
SlurmctldPort=${ports[0]}
StateSaveLocation=$root/state
SlurmctldPidFile=$root/slurmctld.pid
SlurmctldLogFile=$root/log/slurmctld.log
SlurmdPidFile=$root/slurmd.%n.pid
SlurmdSpoolDir=$root/spool.%n
SlurmdLogFile=$root/log/slurmd.%n.log
SlurmdTimeout=30
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,bf_interval=2,sched_interval=2
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
KillWait=5
MinJobAge=36000
EnforcePartLimits=ALL
NodeName=${NODES[0]} NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[1]} CPUs=$CPUS RealMemory=8000 Gres=gpu:a100:2 Feature=a100,ib
NodeName=${NODES[1]} NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[2]} CPUs=$CPUS RealMemory=8000 Gres=gpu:a100:2 Feature=a100,ib
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    local IFS=,
    echo "NodeName=${NODES[*]} Name=gpu Type=a100 File=/dev/null,/dev/zero" >"$root/gres.conf"
}

free_ports() {
    python3 -c 'if True:
        import socket
        held = [socket.socket() for _ in range(3)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        print(*(one.getsockname()[1] for one in held), sep="\n")'
}

# The daemons of this folder, by their own pid files, and the steps that they have started.
end_daemons() {
    local file pid pids=()
    for file in "$root"/slurmd.*.pid "$root"/slurmctld.pid; do
        [[ -s $file ]] || continue
        pid=$(<"$file")
        is_of_slurm "$pid" && pids+=("$pid")
    done
    ((${#pids[@]})) || return 0
    kill "${pids[@]}" 2>/dev/null || true
    wait_until 15 are_gone "${pids[@]}" || kill -KILL "${pids[@]}" 2>/dev/null || true
}

is_of_slurm() { [[ -r /proc/$1/cmdline ]] && tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF -- "$SLURM_CONF"; }

are_gone() {
    local pid
    for pid in "$@"; do
        ! kill -0 "$pid" 2>/dev/null || return 1
    done
}

last_words() { cat "$root"/log/*.log 2>/dev/null | grep -iE "error|fatal" | tail -1 | cut -c1-300; }

cannot() {
    echo "slurm_cluster: $1" >&2
    trap - ERR INT TERM
    end_daemons
    exit "$NO_CLUSTER"
}

main "$@"
