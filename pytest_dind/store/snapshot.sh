# Puts a snapshot into the warm store, in a short-lived container that has the store's volume.
#
#   sh -c "$(cat store.sh snapshot.sh)" sh NAME KEY LIMIT ONCE NETWORKS SNAPSHOT IMAGES
#
# NAME: the name of this container.
# KEY: the snapshot's, `snapshot-NAME-DIGEST`.
# LIMIT: the store's limit in KiB.
# ONCE: `yes` when it is for one run.
# NETWORKS: `yes` when it has others than those that each daemon makes for itself.
# SNAPSHOT: what it is of, as JSON.
# IMAGES: the images in it that came from the outer engine, as in golden/KEY/images.
# Reads the archive of a data-root, as freeze.sh writes it, on its stdin, and writes "kept" when all
# is in its place. The end of stdin is the word to go on: who does not want it any more kills this.
# Whatever fails, nothing of it stays.
#
# Runs behind store.sh, which has what is not assigned, or not used, here.
# shellcheck shell=sh disable=SC2154,SC2034,SC2086,SC2231,SC2329

making=$store/making/$1 key=$2 golden=$store/golden/$2 limit=$3 once=$4 networks=$5
snapshot=$6 images=$7

is_gnu_tar || kept_attributes=

prepare_snapshot() {
	for directory in golden making old unfit layers blobs; do
		mkdir -p "$store/$directory" || return
	done
	rm -rf "$making"
	collect || return
	mkdir "$making" "$making/root" && : >"$making/mounts" && : >"$making/refs" &&
		: >"$making/used" && hold "$making"
}

unpack() {
	set -f
	tar $kept_attributes -x -f - -C "$making/root" || return
	set +f
	# What is left is padding.
	cat >/dev/null
}

# Needs `set -e`.
publish_snapshot() {
	cd "$making/root" || return
	# These are one daemon's.
	rm -rf engine-id tmp runtimes
	# A daemon that finds its default network first removes it, and then makes it all the same.
	[ "$networks" = yes ] || rm -rf network
	unique=$(cat /proc/sys/kernel/random/uuid)
	# The layers of images alone: those of containers are changed.
	for cache in image/overlay2/layerdb/sha256/*/cache-id; do
		[ -e "$cache" ] || continue
		id=$(cat "$cache")
		layer=overlay2/$id/diff
		# Of one that the store has, the daemon has a mount, or a copy that is as good.
		[ ! -d "$store/layers/$id" ] || { rm -rf "$layer" && mkdir "$layer"; }
		keep_layer
	done
	# containerd does not tell one from the other where the store has not: what it has is shared.
	for layer in $snapshots/*/fs; do
		[ ! -L "$layer" ] || keep_layer
	done
	for blob in $content/*; do
		[ ! -e "$blob" ] || keep_blob "${blob##*/}"
	done
	for contents in volumes/*/_data; do
		[ -d "$contents" ] || continue
		volume=${contents%/*}
		mkdir -p "$making/volumes" && mv "$contents" "$making/$volume"
	done
	printf %s "$images" >"$making/images"
	printf '%s\n' "$snapshot" >"$making/snapshot"
	[ "$once" != yes ] || : >"$making/once"
	sum "$making" >"$making/sum"
	cd /
	retire "$golden"
	touch "$making/used"
	mv "$making" "$golden"
	# It is held until this process ends, and so stays.
	collect && evict || true
}

# There is no way without the store here, so others may take their time.
patience=600
if locked prepare_snapshot 8>>"$store/lock"; then
	if unpack; then
		sync -f "$store" || sync
		# In the background: not after `if`, where the shell would ignore -e.
		(set -e && locked publish_snapshot 8>>"$store/lock") &
		wait $! && echo kept && exit
	fi
fi
cd /
rm -rf "$making"
locked collect 8>>"$store/lock"
exit 1
