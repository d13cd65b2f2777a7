#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs on a Debian with systemd and cgroups of version 2, from a disk that holds the frozen program and a root: containers with
# limits, as root and as a user, and what they leave. Each part ends with "@@ NAME STATUS at SECONDS"; a test reads them one by one.

here=$(dirname "$0")
tree=/sys/fs/cgroup
rootfall="$here/rootfall/rootfall container run"
disk=$(cat /sys/class/block/"$(basename "$(findmnt -no SOURCE "$here")")"/dev)
echo user::1000:1000::/:/bin/sh >> /etc/passwd
echo user:x:1000: >> /etc/group
exec=      # or "exec": in place of the shell
delegated= # or a cgroup
dmesg -n 1 # what the kernel says of its killings is not what is tested

part() { # NAME COMMAND…
	part_name=$1
	shift
	"$@" 2>&1
	part_status=$?
	read -r up _ < /proc/uptime
	echo "@@ $part_name $part_status at $up"
}

inside() { # OPTIONS… -- WORDS…: in a container with these options; as a user in the cgroup $delegated, if there is one
	options=
	while [ "$1" != -- ]; do
		options="$options $1"
		shift
	done
	shift
	# shellcheck disable=SC2086 # none has words with spaces
	if [ "$delegated" ]; then
		as_user "$delegated" $rootfall $options "$here/root" /bin/limits "$@"
	else
		$exec $rootfall $options "$here/root" /bin/limits "$@"
	fi
}

as_user() { # CGROUP COMMAND…: as a user, in that cgroup
	cgroup=$1
	shift
	# shellcheck disable=SC2016 # for the inner shell
	$exec sh -c 'echo $$ > "$0/cgroup.procs"; exec setpriv --reuid=1000 --regid=1000 --clear-groups "$@"' "$cgroup" "$@"
}

delegate() { # CGROUP: give it to the user, as admin-guide/cgroup-v2 says, "Delegation"
	mkdir "$1" && chown 1000 "$1" "$1/cgroup.procs" "$1/cgroup.threads" "$1/cgroup.subtree_control"
}

scope() { # COMMAND…: as a user, in a scope of that user's own systemd
	setpriv --reuid=1000 --regid=1000 --clear-groups env XDG_RUNTIME_DIR=/run/user/1000 \
		systemd-run --quiet --user --scope -p Delegate=yes "$@"
}

service() { # LINES COMMAND…: as a service of systemd's
	lines=$1
	shift
	printf '[Service]\nType=oneshot\nStandardOutput=file:/run/said\nStandardError=inherit\n%b\nExecStart=%s\n' "$lines" "$*" \
		> /run/systemd/system/limits.service
	rm -f /run/said
	systemctl daemon-reload
	systemctl --quiet start limits.service 2>/dev/null
	cat /run/said
	return "$(systemctl show -P ExecMainStatus limits.service)"
}

ours() { # all cgroups that a container may have left
	find "$tree" -type d \( -name 'rootfall-*' -o -name 'test-*' \) -printf '%P\n'
}

# A container that has said a line and stays: `stay NAME OPTIONS… -- WORDS…`, then `leave`.
stay() {
	rm -f /run/in /run/out
	mkfifo /run/in /run/out
	stay_name=$1
	shift
	(exec=exec && inside --name "$stay_name" "$@" stay) < /run/in > /run/out 2> /run/err &
	launcher=$!
	exec 8> /run/in 9< /run/out
	read -r line <&9
	echo "$line"
}

leave() {
	exec 8>&- 9<&-
	wait "$launcher"
	left=$?
	cat /run/err
	return "$left"
}

halved() {
	stay test-half --cpus 0.5 -- spin 2000
	half=$(find "$tree" -type d -name test-half)
	echo "in ${half#"$tree"}"
	cat "$half/cpu.max" "$half/cpu.stat"
	leave
}

written() {
	stay test-written --memory 64M --memory-swap-max 16M --pids-limit 33 --cpu-weight 50 --cpuset 0 \
		--io-max "$disk,rbps=1048576,wiops=50" -- affinity
	cd "$(find "$tree" -type d -name test-written)" || return
	grep . memory.max memory.swap.max pids.max cpu.weight cpuset.cpus io.max
	cd /
	leave
}

lifted() { # what the manager of a cgroup may do to those below
	stay test-lifted --cpu-weight 50 --cgroup-parent /given -- affinity
	echo -cpu > "$tree/given/cgroup.subtree_control"
	leave
}

killed() { # OPTIONS… -- WORDS…: the launcher is killed; its keeper, which is no child of ours, does the rest
	stay test-killed "$@"
	for each in $(grep -l "^PPid:[[:space:]]*$launcher\$" /proc/[0-9]*/status 2>/dev/null); do
		grep -q 'test-killed$' "${each%/status}/cgroup" || keeper=$(basename "${each%/status}")
	done
	kill -9 "$launcher"
	timeout 60 tail --pid="$keeper" -s 0.05 -f /dev/null
	echo "waited: $?"
	leave
	echo "left: $(ours)"
}

places() {
	stay test-places --memory 48M --pids-limit 20 -- affinity
	find "$tree" -type d -name test-places
	leave
}

if [ "$1" = hybrid ]; then
	part forks inside --memory 48M --pids-limit 20 -- fork 100
	part memory inside --memory 48M --pids-limit 20 -- eat 96
	part places places
	part after ours
	part end true
	exit
fi

delegate "$tree/mine"
mkdir "$tree/mine/shell"
delegated=$tree/mine/shell
part not-enabled inside --cpus 0.5 -- affinity
part user-memory inside --memory 48M --memory-swap-max 0 -- eat 96
part user-forks inside --pids-limit 20 -- fork 100
part user-after find "$tree/mine" -mindepth 1 -type d -printf '%P\n'
delegate "$tree/alone"
delegated=$tree/alone
part alone inside --pids-limit 20 -- fork 100
part alone-killed killed --pids-limit 20 -- fork 5
part alone-after find "$tree/alone" -mindepth 1 -type d -printf '%P\n'
part alone-control cat "$tree/alone/cgroup.subtree_control"
delegated=
# shellcheck disable=SC2086
{
	part not-delegated setpriv --reuid=1000 --regid=1000 --clear-groups $rootfall --pids-limit 9 "$here/root" /bin/limits affinity
	systemctl --quiet start basic.target dbus.socket systemd-logind user@1000
	part scope scope $rootfall --memory 48M --memory-swap-max 0 "$here/root" /bin/limits eat 96
	part delegated service "User=user\nDelegate=yes" $rootfall --memory 48M --memory-swap-max 0 "$here/root" /bin/limits eat 96
	part service service "User=0" $rootfall --pids-limit 20 "$here/root" /bin/limits fork 100
}
rmdir "$tree/mine/shell" "$tree/mine" "$tree/alone"

part memory inside --memory 48M --memory-swap-max 0 -- eat 96
part forks inside --pids-limit 20 -- fork 100
part half halved
part written written
part absent inside --cpuset 1 -- affinity
part free inside --pids-limit 99 -- read /file
part throttled inside --io-max "$disk,rbps=1048576" -- read /file
part namespace inside --pids-limit 99 -- show /proc/self/cgroup
part leftovers inside --share pid --pids-limit 99 -- fork 30
mkdir "$tree/busy"
tail -f /dev/null &
echo $! > "$tree/busy/cgroup.procs"
part busy inside --pids-limit 9 --cgroup-parent /busy -- affinity
kill $!
wait $! 2> /dev/null
rmdir "$tree/busy"
mkdir "$tree/given"
part given inside --pids-limit 9 --cgroup-parent /given -- affinity
part lifted lifted
rmdir "$tree/given"
part killed killed --share pid --memory 64M -- fork 5
part after ours
part end true
