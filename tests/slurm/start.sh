#!/usr/bin/env bash
# A Slurm of one node on this machine, for tests/test_slurm.py. Run as root; installs Debian's packages where they are
# missing. Says why and exits with 0 where they cannot be had; with 1 where they are here and do not work.
#   stop: tests/slurm/start.sh stop
set -euo pipefail

ETC=/etc/slurm
HOST=$(hostname -s)

stop() {
	for name in slurmd slurmctld munged; do
		local file=/run/convnets-$name.pid
		if [ -f $file ]; then kill "$(cat $file)" 2>/dev/null || true; rm -f $file; fi
	done
}

if [ "${1:-}" = stop ]; then stop; exit 0; fi
if [ "$(id -u)" != 0 ]; then echo "no Slurm: its daemons are started by root only"; exit 0; fi
if ! command -v slurmctld slurmd munged >/dev/null; then
	if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm munge; } >/dev/null 2>&1; then
		echo "no Slurm: slurm-wlm and munge cannot be installed with apt-get"
		exit 0
	fi
fi
if squeue --noheader >/dev/null 2>&1; then echo "Slurm is running"; exit 0; fi
if [ -f $ETC/slurm.conf ] && ! grep -q "made by convnets" $ETC/slurm.conf; then
	echo "no Slurm: $ETC/slurm.conf is somebody else's and its daemons do not answer"
	exit 0
fi

stop
mkdir -p $ETC /var/spool/slurmctld /var/spool/slurmd /var/log/slurm /run/munge
[ -s /etc/munge/munge.key ] || { dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none; }
chown -R munge: /etc/munge /run/munge /var/lib/munge /var/log/munge
chmod 400 /etc/munge/munge.key
chmod 755 /run/munge
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)
# KillWait: what a requeued job has between SIGTERM and SIGKILL. No accounting, no cgroups: they need a full system.
cat >$ETC/slurm.conf <<CONF
# made by convnets, tests/slurm/start.sh
ClusterName=test
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmctldParameters=preempt_send_user_signal
KillWait=5
SchedulerParameters=sched_interval=2,bf_interval=2
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
SlurmctldPidFile=/run/convnets-slurmctld.pid
SlurmdPidFile=/run/convnets-slurmd.pid
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory
PartitionName=test Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
CONF
install -d -o munge -g munge -m 755 /run/munge
runuser -u munge -- /usr/sbin/munged --force
cp /run/munge/munged.pid /run/convnets-munged.pid 2>/dev/null || true
slurmctld -c
slurmd
for _ in $(seq 60); do
	if [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ]; then
		echo "Slurm runs: one node, $(nproc) CPUs"
		exit 0
	fi
	sleep 0.5
done
echo "Slurm was started and does not answer:" >&2
tail -n 20 /var/log/slurm/*.log >&2
exit 1
