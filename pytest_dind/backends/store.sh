# The warm store: data-roots with images in them, made once, on a volume that daemons share.
# Run by supervise.sh before it starts dockerd; in the volume:
#
#   golden/KEY/root    a data-root without its layers: copied for each daemon, since it is changed
#   golden/KEY/mounts  its layers: "layers/NAME path-in-data-root", bind-mounted, since they aren't
#   golden/KEY/refs    what it needs of layers/ and blobs/;  golden/KEY/sum  checksum of root
#   golden/KEY/used    touched by each daemon that has it;   golden/KEY/images what is in it
#   layers/ blobs/     shared by all of golden/
#   making/CONTAINER   data-roots that are being made; never seen by another daemon
#
# A golden root comes to its place by one rename, when it is complete. Daemons have the volume
# read-only, by the kernel's word. The test process reads the outcome in the home's file `store`.

store=/run/pytest-dind-store
data=/var/lib/docker
content=containerd/daemon/io.containerd.content.v1.content/blobs/sha256
snapshots=containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots

# util-linux from 2.39 on mounts by new system calls, which Sysbox refuses; this makes it use
# mount(2), as busybox always does.
export LIBMOUNT_FORCE_MOUNT2=always

outcome() {
	echo "$1" >"$home/store.new" && mv "$home/store.new" "$home/store"
}

# Give the data-root the images of a golden root, or a place where one can be made.
seed() {
	[ -n "$key" ] || return 0
	golden=$store/golden/$key
	making=$store/making/$name
	if [ -n "$(ls -A "$data")" ]; then
		# The image brings nested images of its own, which a golden root would hide.
		outcome preloaded
	elif [ "$refresh" != yes ] && [ -d "$golden" ] && is_sound "$golden"; then
		touch "$golden/used"
		mount -o remount,bind,ro "$store"
		plant "$golden" "$data" && outcome seeded
	else
		make_room "$golden" && mount --bind "$making" "$data" && outcome cold
	fi || outcome failed
}

is_sound() {
	[ "$(sum "$1")" = "$(cat "$1/sum")" ] || return 1
	while read -r entry; do
		[ -e "$store/$entry" ] || return 1
	done <"$1/refs"
}

sum() {
	(cd "$1" && find root -type f -exec cksum {} + | sort | cksum)
}

# Copy a golden root to a new place and mount its layers there.
plant() {
	cp -a "$1/root/." "$2/" && cp "$1/images" "$home/images" || return 1
	sed "s|^\([^ ]*\) \(.*\)|$store/\1 $2/\2 none bind 0 0|" "$1/mounts" >/run/pytest-dind.fstab
	[ ! -s /run/pytest-dind.fstab ] || mount -a -T /run/pytest-dind.fstab
}

# Where a golden root is made: from the latest one for the same daemon, so that only what is new
# is added, or from nothing.
make_room() {
	rm -rf "$1"
	mkdir -p "$making" "$store/layers" "$store/blobs" "$store/golden"
	for latest in $(ls -td "$store/golden/${key%-*}-"*/used 2>/dev/null); do
		latest=${latest%/used}
		is_sound "$latest" || continue
		cp "$latest/refs" "$making.refs"
		plant "$latest" "$making"
		return
	done
}

# Make a golden root of what is in the data-root of a daemon that has ended.
publish() {
	unmount_below "$making"
	unmount_below "$data"
	umount "$data"
	new=$making.golden
	rm -rf "$new"
	mkdir "$new"
	mv "$making" "$new/root"
	cd "$new/root"
	# What belongs to the daemon that was, not to its images.
	rm -rf engine-id network containers tmp runtimes
	: >"$new/mounts"
	: >"$making.refs"
	for layer in overlay2/*/diff "$snapshots"/*/fs; do
		[ -d "$layer" ] || continue
		name=$(layer_name "$layer")
		echo "layers/$name" >>"$making.refs"
		keep_layer "$layer" "$name"
	done
	for blob in "$content"/*; do
		[ -e "$blob" ] || continue
		echo "blobs/${blob##*/}" >>"$making.refs"
		[ -L "$blob" ] || {
			mv "$blob" "$store/blobs/"
			ln -s "$store/blobs/${blob##*/}" "$blob"
		}
	done
	cd /
	cp "$making.refs" "$new/refs"
	cp "$home/images" "$new/images"
	sum "$new" >"$new/sum"
	touch "$new/used"
	if [ -d "$golden" ]; then
		# Another run was faster; its root is as good.
		rm -rf "$new"
	else
		mv "$new" "$golden"
	fi
	rm -f "$making.refs"
	evict
}

# Go on without the store when a golden root could not be made, as on a full disk.
give_up() {
	unmount_below "$making"
	unmount_below "$data"
	umount "$data"
	rm -rf "$making" "$making.golden" "$making.refs"
	rm -f "$home/images"
	key=
	outcome failed
}

# overlay2 names its layers at random; the numbers of containerd's snapshots need the key.
layer_name() {
	if [ -L "$1" ]; then
		basename "$(readlink "$1")"
	else
		id=${1%/*}
		case $1 in
		overlay2/*) echo "${id##*/}" ;;
		*) echo "$key.${id##*/}" ;;
		esac
	fi
}

# Move a layer that is new to the shared place, and leave a way to it.
keep_layer() {
	case $1 in
	overlay2/*)
		if [ -d "$store/layers/$2" ]; then
			rmdir "$1"
		else
			mv "$1" "$store/layers/$2"
		fi
		mkdir "$1"
		echo "layers/$2 $1" >>"$new/mounts"
		;;
	*)
		[ -L "$1" ] || {
			mv "$1" "$store/layers/$2"
			ln -s "$store/layers/$2" "$1"
		}
		;;
	esac
}

unmount_below() {
	sed -n "s|^[^ ]* \($1/[^ ]*\) .*|\1|p" /proc/self/mounts | sort -r | while read -r mounted; do
		umount "$mounted"
	done
}

# Keep the store below its limit, the least recently used first. The home's file `in-use` names
# the keys that daemons have, and the containers that there are.
evict() {
	for making_of in "$store"/making/*; do
		owner=${making_of##*/}
		[ ! -e "$making_of" ] || grep -qxF "${owner%%.*}" "$home/in-use" || rm -rf "$making_of"
	done
	collect
	for used in $(ls -tr "$store"/golden/*/used); do
		[ "$(du -sk "$store" | cut -f1)" -gt "$limit" ] || return 0
		oldest=$(basename "${used%/used}")
		[ "$oldest" != "$key" ] || continue
		grep -qxF "$oldest" "$home/in-use" || {
			rm -rf "$store/golden/$oldest"
			collect
		}
	done
}

# Remove layers and blobs that nothing refers to any more.
collect() {
	cat "$store"/golden/*/refs "$store"/making/*.refs 2>/dev/null | sort -u >/run/pytest-dind.refs
	for entry in "$store"/layers/* "$store"/blobs/*; do
		[ ! -e "$entry" ] || grep -qxF "${entry#"$store/"}" /run/pytest-dind.refs || rm -rf "$entry"
	done
}
