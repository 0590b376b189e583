# For the templates beside this file: train, and go back into the queue when SLURM says that time is up.
#
# They are submitted from the checkout (sbatch slurm/array.sbatch ...), or from elsewhere with STEEPEST_HOME=CHECKOUT;
# runs/ lies where sbatch was typed.
# shellcheck shell=bash

home=${STEEPEST_HOME:-$SLURM_SUBMIT_DIR}
# shellcheck disable=SC1091
source "$home/.venv/bin/activate" # or what your cluster has in its place: module load, conda activate

# train_or_requeue COMMAND...: run it, hand signals on to it, and end with its exit code.
#
# USR2 is the warning that `#SBATCH --signal=B:USR2@120` asks for, before the time limit and before a preemption with a
# grace time: training saves and ends, and the job goes back into the queue, where the same command resumes.
# TERM comes with scancel: training saves and ends, and the job does, too.
train_or_requeue() {
    local process code=0 again=
    "$@" &
    process=$!
    trap 'again=yes; hand_on "$process"' USR2
    trap 'hand_on "$process"' TERM
    until wait "$process"; do # a signal ends the waiting, not the process
        kill -0 "$process" 2>/dev/null || break
    done
    wait "$process" || code=$?
    if [[ $again && $code != 0 ]]; then
        echo "$(date +%FT%T) back into the queue (exit code $code)"
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$code"
}

# What runs in the script itself is told by a signal; the tasks of srun, on all nodes, through SLURM.
hand_on() {
    if [[ $(ps -o comm= -p "$1") = srun ]]; then
        scancel --signal=TERM "$SLURM_JOB_ID"
    else
        kill -TERM "$1"
    fi
}
