# The data-root of a daemon as it is now, as an archive on stdout, while the daemon holds still.
#
#   sh -c "$(cat freeze.sh)" sh SECONDS
#
# Runs in the daemon's container. dockerd and its containerd are stopped (SIGSTOP) meanwhile: what
# they have written is then what a crash of the machine would leave, which both come back from. They
# go on after SECONDS at the latest, and also when this shell is killed.
# shellcheck shell=sh disable=SC2016,SC2086

data=/var/lib/docker
seconds=$1

# Only GNU tar keeps extended attributes: file capabilities, access lists, and overlayfs's own.
if tar --version 2>/dev/null | grep -q GNU; then
	attributes='--format=posix --xattrs --xattrs-include=* --numeric-owner --sparse --record-size=65536'
else
	attributes=
	echo without-attributes >&2
fi

# Not those of daemons in nested containers.
namespace=$(readlink /proc/1/ns/pid)
held=
for process in /proc/[0-9]*; do
	case $(cat "$process/comm" 2>/dev/null) in
	dockerd | containerd)
		[ "$(readlink "$process/ns/pid")" != "$namespace" ] || held="$held ${process#/proc/}"
		;;
	esac
done
[ -n "$held" ] || {
	echo "There is no process dockerd in the daemon's container." >&2
	exit 1
}

trap 'kill -CONT $held' EXIT
trap 'exit 1' TERM INT HUP PIPE
(
	while kill -0 $$; do sleep 0.1; done
	kill -CONT $held
) </dev/null >/dev/null 2>&1 &
kill -STOP $held || exit
for process in $held; do
	until grep -q '^State:[[:blank:]]*T' "/proc/$process/status"; do sleep 0.01; done
done

# What is mounted below the data-root, the store's layers and the file systems of containers, is no
# part of it. In a mount namespace of its own the archive is made of what is on the disk.
set -f
timeout "$seconds" unshare -m sh -c '
	data=$1
	shift
	for mounted in $(sed -n "s|^[^ ]* \($data/[^ ]*\) .*|\1|p" /proc/self/mounts | sort -r); do
		umount -l "$mounted" || exit
	done
	exec tar "$@" -c -f - -C "$data" .
' sh "$data" $attributes
