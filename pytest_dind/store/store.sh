# The warm store: data-roots with images in them, made once, on a volume that daemons share.
# Run by supervise.sh before it starts dockerd, and by `pytest-dind cache`; in the volume:
#
#   golden/KEY/root    a data-root without its layers: copied for each daemon, since it is changed
#   golden/KEY/mounts  its layers: "layers/NAME path-in-data-root", bind-mounted, since they aren't
#   golden/KEY/refs    the entries of layers/ and blobs/ that it needs
#   golden/KEY/images  the images in it, an id and a name a line, and another id perhaps
#   golden/KEY/sum     the checksum of all these
#   golden/KEY/used    touched by each daemon that starts with it
#   golden/KEY/snapshot  of a snapshot (KEY is snapshot-NAME-DIGEST): what it is of, as JSON
#   golden/KEY/once      there when a snapshot is for one run, which removes it in the end
#   golden/KEY/volumes/NAME  what is in a volume of a snapshot, which its root has without that
#   layers/ blobs/     shared by all golden roots
#   making/CONTAINER   a golden root that is being made; never seen by another daemon
#   old/NAME           golden roots that were replaced while daemons had them
#   unfit/KEY          why no golden root can be made for this key
#   lock               held while anything is added or removed
#
# A golden root comes to its place by one rename, when it is complete. The first process of each
# daemon that starts with it holds a shared lock on `used`, and a root is removed under an exclusive
# one only; the kernel releases both when their process dies. Daemons see the volume mounted
# read-only. The test process reads the outcome in the home's file `store`.
#
# What is assigned elsewhere (SC2154) is by the script behind this one. Names here have no blanks, and
# `read` is not to be used, see below (SC2013, SC2045); some are patterns (SC2231).
# shellcheck shell=sh disable=SC2154,SC2013,SC2045,SC2086,SC2231

store=/var/lib/pytest-dind-store
data=/var/lib/docker
# Directories of containerd: the daemon's own, and those that nested containers begin with.
content='containerd/*/io.containerd.content.v1.content/blobs/sha256'
snapshots='containerd/*/io.containerd.snapshotter.v1.overlayfs/snapshots'
# What GNU tar keeps: file capabilities, access lists, and overlayfs's own attributes.
kept_attributes='--xattrs --xattrs-include=* --numeric-owner --preserve-permissions'

# Nothing here uses `read`: busybox 1.38 spins in it for ever once a signal was trapped.

# util-linux from 2.39 on mounts by new system calls, which Sysbox refuses; this makes it use
# mount(2), as busybox always does.
export LIBMOUNT_FORCE_MOUNT2=always

outcome() {
	echo "$1" >"$home/store.new" && mv "$home/store.new" "$home/store"
}

# Fill the data-root from a golden root, or mount a place on it where one can be made.
seed() {
	[ -n "$key" ] || return 0
	golden=$store/golden/$key
	making=$store/making/$name
	damaged=
	if [ -n "$(ls -A "$data")" ]; then
		# The image has nested images of its own, which a golden root would hide.
		outcome preloaded
	elif [ "$refresh" != yes ] && [ -s "$store/unfit/$key" ]; then
		outcome "unfit $(cat "$store/unfit/$key")"
	elif is_wanted && hold "$golden" && is_sound "$golden"; then
		touch "$golden/used"
		mount -o remount,bind,ro "$store" && plant "$golden" && fill_volumes
	elif is_snapshot "$key"; then
		# Nothing can be made in its place.
		[ -n "$damaged" ] && outcome damaged || outcome missing
	else
		locked make_room 8>>"$store/lock" && outcome cold
	fi || {
		clear
		outcome failed
	}
}

# Whether there is a golden root; with a refresh, one of this run: it is newer than the run's lease.
is_wanted() {
	[ -d "$golden" ] && { [ "$refresh" != yes ] || [ "$golden/sum" -nt "$home/lease" ]; }
}

is_snapshot() {
	case $1 in
	snapshot-*) ;;
	*) return 1 ;;
	esac
}

# Keep a root from being removed as long as this shell lives; fails if it was removed just before.
hold() {
	# Without `command`, a file that is missing would end the shell.
	command exec 9<"$1/used" && flock -s 9 && [ /proc/self/fd/9 -ef "$1/used" ]
}

is_sound() {
	[ "$(sum "$1")" = "$(cat "$1/sum")" ] || damaged=yes
	for entry in $(cat "$1/refs"); do
		[ -e "$store/$entry" ] || damaged=yes
	done
	[ -z "$damaged" ]
}

# The checksum of a root: the contents of files, and the names of directories and links. Of what
# containers have written, which a snapshot has too, the sizes and times: a start is to take no longer
# for reading all of it.
sum() {
	(
		cd "$1" || return
		if [ -e snapshot ]; then
			cksum snapshot
			find volumes root/volumes root/overlay2 root/$snapshots -type f \
				-exec stat -c '%n %s %Y' {} + 2>/dev/null | sort
			find root \( -path root/volumes -o -path root/overlay2 -o -path "root/$snapshots" \) \
				-prune -o -type f -exec cksum {} + | sort
			cksum mounts refs images
		else
			find root mounts refs images -type f -exec cksum {} + | sort
		fi
		find root volumes ! -type f 2>/dev/null | sort
	) | cksum
}

# Copy a golden root to the data-root and mount its layers there.
plant() {
	(
		# It stays the same directory when another takes its place meanwhile.
		cd "$1" || return
		copy && cp images "$home/images" || return
		sed "s|^\([^ ]*\) \(.*\)|$store/\1 $data/\2 none bind 0 0|" mounts >/run/pytest-dind.fstab
	) || return
	[ ! -s /run/pytest-dind.fstab ] || mount -a -T /run/pytest-dind.fstab
}

# Copy the data-root of the golden root that is the working directory.
copy() {
	if [ -e snapshot ]; then
		copy_written root "$data"
	else
		cp -a root/. "$data/"
	fi
}

# Copy a directory into another with all that containers have written there, with attributes that
# busybox's cp does not know; GNU's makes reflinks, too.
copy_written() {
	if cp --version 2>/dev/null | grep -q GNU; then
		cp -a --reflink=auto "$1/." "$2/"
	elif is_gnu_tar; then
		(set -f && tar $kept_attributes -c -f - -C "$1" .) |
			(set -f && tar $kept_attributes -x -f - -C "$2")
	else
		cp -a "$1/." "$2/"
	fi
}

# Fill the volumes of a daemon that starts from a snapshot. That may take longer than the engine's own
# start, and goes on beside it: nobody uses volumes until the daemon is handed over, which the outcome
# is waited for. Containers that the engine starts by itself would.
fill_volumes() {
	if ! [ -d "$golden/volumes" ]; then
		outcome seeded
	elif starts_containers; then
		copy_volumes && outcome seeded
	else
		# The end of this process, the first, ends it too.
		(
			if why=$(copy_volumes 2>&1); then
				outcome seeded
			else
				outcome "failed the volumes can't be copied: $(echo "$why" | tail -n 1)"
			fi
		) &
	fi
}

copy_volumes() (
	cd "$golden/volumes" || return
	for volume in *; do
		mkdir -p "$data/volumes/$volume/_data" &&
			copy_written "$volume" "$data/volumes/$volume/_data" || return
	done
)

# Whether the engine starts containers when it starts itself, by their restart policy.
starts_containers() {
	grep -q '"RestartPolicy":{"Name":"[aou]' "$data"/containers/*/hostconfig.json 2>/dev/null
}

is_gnu_tar() {
	tar --version 2>/dev/null | grep -q GNU
}

# Run a command under the store's lock, which the caller opens as 8. Fails when another process
# holds it for long: a start without the store is better than a wait for a process that hangs.
# `patience` is how long, in tenths of a second.
locked() {
	tries=${patience:-100}
	until flock -n 8; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || {
			echo "Another process holds the store's lock." >&2
			return 1
		}
		sleep 0.1
	done
	"$@"
}

# Mount the place where a golden root is made on the data-root: a copy of the latest one for the
# same daemon, so that only new images are added, or an empty directory.
make_room() {
	for directory in golden making old unfit layers blobs; do
		mkdir -p "$store/$directory" || return
	done
	[ -z "$damaged" ] || retire "$golden" || return
	rm -rf "$making" "$store/unfit/$key"
	collect || return
	mkdir "$making" "$making/root" && : >"$making/refs" && : >"$making/used" || return
	hold "$making" || return
	[ "$refresh" = yes ] || for used in $(ls -t "$store/golden/${key%-*}-"*/used 2>/dev/null); do
		latest=${used%/used}
		damaged=
		is_sound "$latest" || continue
		cp "$latest/refs" "$making/refs" || return
		# Not below `making`: what is mounted there would not be seen in the data-root.
		mount --bind "$making/root" "$data" && plant "$latest"
		return
	done
	mount --bind "$making/root" "$data"
}

# Move a golden root out of its place; daemons that started with it keep it.
retire() {
	[ ! -d "$1" ] || mv "$1" "$store/old/$(cat /proc/sys/kernel/random/uuid)"
}

# Make a golden root of the data-root of a daemon that has ended. Needs `set -e`.
publish() {
	unmount_below "$data"
	umount "$data"
	cd "$making/root" || return
	# These belong to the daemon that ended, not to its images.
	rm -rf engine-id network containers tmp runtimes
	: >"$making/mounts"
	: >"$making/refs"
	# The numbers of containerd's snapshots are used again in other roots.
	unique=$(cat /proc/sys/kernel/random/uuid)
	for layer in overlay2/*/diff $snapshots/*/fs; do
		[ -d "$layer" ] || continue
		keep_layer
	done
	for blob in $content/*; do
		[ -e "$blob" ] || continue
		keep_blob "${blob##*/}"
	done
	if ! [ -s "$making/refs" ]; then
		echo "its data-root has no layers where they are looked for" >"$store/unfit/$key"
		return 1
	fi
	cp "$home/images" "$making/images"
	sum "$making" >"$making/sum"
	cd /
	if [ "$refresh" != yes ] && [ -d "$golden" ]; then
		# Another run was faster; its root is as good.
		rm -rf "$making"
	else
		retire "$golden"
		touch "$making/used"
		mv "$making" "$golden"
	fi
	# What is removed later takes room until then, but does no harm.
	collect && evict || true
}

# Move a new layer to the shared place, and leave a symbolic link to it for containerd, or for
# overlay2, which insists on a directory, one to mount it on.
keep_layer() {
	id=${layer%/*}
	id=${id##*/}
	case $layer in
	overlay2/*)
		# Its own name for it is unique, and known in the next root.
		kept=layers/$id
		if [ -d "$store/$kept" ]; then
			rmdir "$layer"
		else
			mv "$layer" "$store/$kept"
		fi
		mkdir "$layer"
		echo "$kept $layer" >>"$making/mounts"
		;;
	*)
		# Each directory of containerd has numbers of its own.
		whose=${layer#containerd/}
		kept=layers/$unique.${whose%%/*}.$id
		if [ -L "$layer" ]; then
			kept=layers/$(basename "$(readlink "$layer")")
		else
			mv "$layer" "$store/$kept"
			ln -s "$store/$kept" "$layer"
		fi
		;;
	esac
	echo "$kept" >>"$making/refs"
}

# The same for a blob of containerd's, known by its checksum.
keep_blob() {
	if ! [ -L "$blob" ]; then
		mv "$blob" "$store/blobs/$1"
		ln -s "$store/blobs/$1" "$blob"
	fi
	echo "blobs/$1" >>"$making/refs"
}

# Go on without the store, since no golden root could be made, as on a full disk. The home's file
# `abandon` tells why none can ever be, as with a storage driver whose layers are elsewhere.
give_up() {
	clear
	if [ -s "$home/abandon" ]; then
		cp "$home/abandon" "$store/unfit/$key"
	fi
	locked collect 8>>"$store/lock"
	if [ -s "$store/unfit/$key" ]; then
		outcome "unfit $(cat "$store/unfit/$key")"
	else
		outcome failed
	fi
	key=
}

# Empty the data-root, at whatever step its filling failed.
clear() {
	command exec 9<&-
	unmount_below "$data"
	is_mounted "$making/root" && umount -l "$data"
	rm -rf "$making"
	rm -f "$home/images"
	# A layer that could not be unmounted is not to be emptied. Busybox's find may have no -delete.
	[ -n "$(mounts_below "$data")" ] || (cd "$data" && find . ! -name . -prune -exec rm -rf {} +)
}

# Whether this directory is mounted on the data-root.
is_mounted() {
	[ "$1" -ef "$data" ]
}

mounts_below() {
	sed -n "s|^[^ ]* \($1/[^ ]*\) .*|\1|p" /proc/self/mounts | sort -r
}

unmount_below() {
	for mounted in $(mounts_below "$1"); do
		umount "$mounted"
	done
}

# Remove golden roots until the store is below its limit, the least recently used first; those in
# use stay.
evict() {
	for used in $(ls -tr "$store"/golden/*/used 2>/dev/null); do
		[ "$(du -sk "$store" | cut -f1)" -gt "$limit" ] || return 0
		if remove "${used%/used}"; then collect; fi
	done
}

# Remove a root unless a process holds it.
remove() {
	flock -n "$1/used" rm -rf "$1"
}

# Remove the remains of killed runs, snapshots that such runs have not used for a day, and layers and blobs that no root refers to.
collect() {
	for root in "$store"/making/* "$store"/old/*; do
		[ ! -d "$root" ] || remove "$root" || continue
	done
	for root in "$store"/golden/*; do
		[ ! -d "$root" ] || [ -e "$root/used" ] || remove "$root"
		# A run that was killed can't remove its snapshots.
		[ ! -e "$root/once" ] || [ -z "$(find "$root/used" -mtime +0)" ] || remove "$root"
	done
	# A list that is cut short, as on a full disk, would cost layers that are needed.
	cat "$store"/golden/*/refs "$store"/making/*/refs "$store"/old/*/refs 2>/dev/null |
		sort -u >/run/pytest-dind.refs || return
	for entry in "$store"/layers/* "$store"/blobs/*; do
		[ -e "$entry" ] || [ -L "$entry" ] || continue
		grep -qxF "${entry#"$store/"}" /run/pytest-dind.refs || rm -rf "$entry"
	done
}
