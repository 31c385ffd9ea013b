# The first process of a daemon's container, run by the image's own sh (dash, ash, bash).
#
#   sh -c "$(cat store.sh control_groups.sh supervise.sh)" sh DEADLINE BARE NAME KEY REFRESH LIMIT CONNECTION MORE COMMAND...
#
# DEADLINE: the seconds after which the lease must have a holder.
# BARE: whether the image has no entrypoint.
# NAME: the container's name.
# KEY, REFRESH, LIMIT: the golden root, whether it is made anew, the store's limit; KEY may be empty.
# CONNECTION: `shared` when the home directory is the test process's, mounted here, `tls` or `gate`
# when it is this container's: the exit code is on its output then, too.
# MORE: arguments of dockerd's that an older one does not know, with blanks between them; may be empty.
# It starts COMMAND, ends it with its last user, and reaps its orphans. In the home directory it
# reads the FIFO `lease` and writes `log`, `sight` and `exit`; once there is a file `kept`, the
# daemon outlives its users.
# Exit codes: the command's own; 124 without control groups, 125 when the home directory isn't shared,
# 127 without dockerd, 0 when the last user is gone.
#
# Runs behind these two, which have what is not assigned, or not used, here. It goes through words, not
# lines (SC2013, SC2086).
# shellcheck shell=sh disable=SC2154,SC2034,SC2013,SC2086

home=/run/pytest-dind
deadline=$1 bare=$2 name=$3 key=$4 refresh=$5 limit=$6 connection=$7 more=$8
shift 8

# With cgroup v1 a frozen process, as in a paused container, can't be killed, not even by the end of
# this process, the first.
thaw() {
	[ -d /sys/fs/cgroup/freezer ] || return 0
	# Without a `read` loop, which never ends in a trap of busybox's ash.
	find /sys/fs/cgroup/freezer -name freezer.state -exec sh -c 'echo THAWED >"$0"' {} \; 2>/dev/null
}

finish() {
	thaw
	echo "$1" >"$home/exit.new" && mv "$home/exit.new" "$home/exit"
	exit "$1"
}

# The daemon itself has ended. Its log and exit code go with the container unless the home is shared:
# the container then stays for its users to read them, until the last one is gone.
conclude() {
	[ "$connection" = shared ] || [ -n "$ended" ] || {
		echo "$1" >&4
		wait
	}
	finish "$1"
}

ended=

[ "$connection" = shared ] || {
	# shellcheck disable=SC2174 # The directory above is there.
	mkdir -p -m 700 "$home"
	mkfifo "$home/lease"
}
[ -p "$home/lease" ] || exit 125
exec 4>&1
exec >>"$home/log" 2>&1
# The test process judges by these whether Sysbox runs this container.
cat /proc/self/uid_map /proc/self/mountinfo >"$home/sight"

# The lease: end-of-file when the last user is gone. Opening it waits for a first user, so the
# timer ends a daemon whose owner died before it had the lease.
trap 'finish 0' USR1
(sleep "$deadline" && kill -USR1 1) &
timer=$!
(
	exec 3<"$home/lease"
	kill "$timer"
	cat <&3 >/dev/null
	[ -e "$home/kept" ] || kill -USR1 1
) &

command -v dockerd >/dev/null || conclude 127
# In a user namespace, as on an engine that runs without root, control groups may be another user's.
case $(cat /proc/self/uid_map) in
*4294967295) ;;
*) divides || conclude 124 ;;
esac
# The certificates come after the start: they name the container's address. The process that puts
# them has to be gone from the group of all processes, which `prepare`, or the image, empties.
[ "$connection" != tls ] || {
	until [ -s "$home/tls/ready" ]; do sleep 0.05; done
	while kill -0 "$(cat "$home/tls/ready")"; do sleep 0.01; done 2>/dev/null
}
# Files of the test process's for elsewhere in the container.
[ ! -d "$home/given" ] || (
	cd "$home/given" && find . -type f -exec sh -c \
		'mkdir -p "/${1%/*}" && cp "$1" "/$1" && chmod 644 "/$1"' sh {} \;
)

# Prepare the container as the official image's entrypoint does, for an image that has none: tell
# AppArmor that this is a container, share the mounts, and on cgroup v2 move all processes out of the
# group whose controllers nested containers get (it must hold none, so they move until it is empty).
prepare() {
	export container=docker
	if [ -d /sys/kernel/security ] && ! [ -e /sys/kernel/security/lsm ]; then
		mount -t securityfs none /sys/kernel/security
	fi
	mount --make-rshared /
	[ -f /sys/fs/cgroup/cgroup.controllers ] || return 0
	mkdir -p /sys/fs/cgroup/init
	for attempt in 1 2 3 4 5; do
		while read -r pid; do
			echo "$pid" >/sys/fs/cgroup/init/cgroup.procs
		done </sys/fs/cgroup/cgroup.procs
		sed 's/[^ ][^ ]*/+&/g' /sys/fs/cgroup/cgroup.controllers \
			>/sys/fs/cgroup/cgroup.subtree_control && break
	done
}
[ "$bare" = no ] || prepare

# An image that was made of a container in which dockerd ran has its pid files. Here these ids are
# other processes', which a new dockerd would take for the old one.
for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
	[ ! -e "$file" ] || rm -f "$file"
done

# Where containers ask for any port, each daemon begins with another one: what daemons side by side
# publish is on the loopback of one machine.
ports=/proc/sys/net/ipv4/ip_local_port_range
spread() { [ $# -ne 3 ] || echo "$(($1 + 0x${3%%-*} % ($2 - $1 - 1000))) $2" >$ports; }
# shellcheck disable=SC2046 # The first port, the last, and a number at random.
spread $(cat $ports /proc/sys/kernel/random/uuid) 2>/dev/null

# `more` gets what dockerd is told besides, but for what its configuration tells it: it would refuse
# the same thing from two places.
config=$(cat /etc/docker/daemon.json 2>/dev/null)
case "$config" in
*host-gateway-ip* | *default-network-opts*) more= ;;
esac

# dockerd's rules for IPv6 take a fifth of its start. In a container without IPv6 they only part
# nested networks from each other; --ip6tables=true asks for that.
case " $* $config" in
*ip6tables* | *" --config-file"*) ;;
*) grep -qv ' lo$' /proc/net/if_inet6 2>/dev/null || more="$more --ip6tables=false" ;;
esac

# Nested containers ask the resolvers that the outer engine's containers ask, also once this
# container joins a network whose resolver, on its loopback, they can't reach: dockerd would let them
# ask a public one. Newer engines tell in a comment which ones theirs asks; where none is known they
# ask this container, see redirect.sh.
case " $* $config" in
*" --dns"[\ =]* | *" --dns-opt"* | *\"dns\"* | *\"dns-opts\"* | *" --config-file"*) ;;
*)
	resolvers=
	for server in $(sed -n -e 's/^nameserver *//p' -e 's/host(\([^)]*\))/\1/g' \
		-e 's/^# ExtServers: \[\(.*\)]$/\1/p' /etc/resolv.conf); do
		case $server in
		127.* | ::1 | *[!0-9a-fA-F.:]*) ;;
		*) resolvers="$resolvers $server" ;;
		esac
	done
	for argument; do
		case $argument in
		--bip=*) argument=${argument#--bip=} resolvers=${resolvers:-" ${argument%/*}"} ;;
		esac
	done
	for server in $resolvers; do
		more="$more --dns=$server"
	done
	# The engine puts `ndots:0` into this container's own file when it joins a network, and a dockerd
	# that finds it there passes no name without a dot on. An option takes its place, of all that
	# were there or of none; this one is what resolvers do anyway.
	options=$(sed -n 's/^options *//p' /etc/resolv.conf)
	case $options in
	*ndots:0*) options= ;;
	esac
	for option in ${options:-attempts:2}; do
		more="$more --dns-opt=$option"
	done
	echo "$resolvers" >/run/pytest-dind.resolvers
	;;
esac

# Wait for a process, whatever signals come meanwhile; its exit code is in `code` then.
await() {
	while
		interrupted=
		wait "$1"
		code=$?
		[ -n "$interrupted" ]
	do :; done
}

# Give a daemon that has ended the names of its images that no archive brings: those by digest.
adopt() {
	[ -s "$home/references" ] || return 0
	for file in "$data"/image/*/repositories.json; do
		[ ! -e "$file" ] || cp "$home/references" "$file"
	done
	rm -f "$home/references"
}

# Signals are passed on to the daemon; they interrupt `wait`, which also reaps orphans. After USR2
# the daemon's data-root is published as a golden root, and a new daemon starts with that.
trap 'interrupted=yes ended=yes; kill -TERM "$daemon"' TERM INT QUIT HUP
trap 'interrupted=yes again=yes; kill -TERM "$daemon"' USR2
# After ALRM, by which the test process asks for a restart, a new daemon takes over the data-root.
trap 'interrupted=yes restart=yes; kill -TERM "$daemon"' ALRM
seed
while :; do
	again='' restart=''
	# The lock of a golden root is this process's alone.
	"$@" $more 4>&- 9<&- &
	daemon=$!
	await "$daemon"
	# Docker before 20.10 does not know --ip6tables and --host-gateway-ip, and before 24
	# --default-network-opt.
	unknown=$(sed -n 's/^.*unknown flag: //p' "$home/log" | tail -n 1)
	case "$code $more" in
	[1-9]*" ${unknown:-none}="*)
		known=
		for argument in $more; do
			[ "${argument%%=*}" = "$unknown" ] || known="$known $argument"
		done
		more=$known
		continue
		;;
	esac
	[ -n "$again$restart" ] && [ -z "$ended" ] || conclude "$code"
	adopt
	if [ -n "$restart" ]; then
		# One that had to be killed leaves its pid file, too.
		rm -f /var/run/docker.pid
		# A daemon that ends unmounts all below its data-root, the store's layers too.
		[ ! -s /run/pytest-dind.fstab ] || mount -a -T /run/pytest-dind.fstab
		echo yes >"$home/restarted"
		continue
	fi
	published=1
	if [ "$code" -eq 0 ] && ! [ -e "$home/abandon" ]; then
		# A crash of the machine must not cut a golden root short once it is in its place.
		sync -f "$store" || sync
		# In the background, so that the end of the lease ends this too. Not with `||`, where the
		# shell would ignore -e.
		(set -e && locked publish 8>>"$store/lock") &
		await $!
		published=$code
	fi
	if [ "$published" -eq 0 ]; then
		refresh=
		seed
	else
		give_up
	fi
	[ -z "$ended" ] || finish 0
done
