# What `pytest-dind cache` does, in a short-lived container that has the store's volume.
#
#   sh -c "$(cat store.sh cache.sh)" sh list
#   sh -c "$(cat store.sh cache.sh)" sh remove KEY...
#   sh -c "$(cat store.sh cache.sh)" sh prune LIMIT
#   sh -c "$(cat store.sh cache.sh)" sh snapshot KEY
#
# `list` writes, separated by tabs, "root KEY KIBIBYTES USED HELD" for each golden root, with an
# "image ID NAME" for each of its images after it, and "all KIBIBYTES" at the end. The others write
# "gone KEY", "held KEY" or "missing KEY" for each root that they removed or were to remove. `snapshot`
# writes "snapshot JSON" where the store has one of this key, which counts as its use; `list` writes
# the same after the images of each root that is one.
#
# Runs behind store.sh, which has what is not assigned, or not used, here.
# shellcheck shell=sh disable=SC2154,SC2034

list() {
	for used in "$store"/golden/*/used; do
		root=${used%/used}
		# Others remove roots meanwhile, and do so under a lock: one that can be held now was whole
		# while it was read, and any other is not to be told of.
		told=$(tell_root && hold "$root") && printf '%s\n' "$told"
	done
	printf 'all\t%s\n' "$(du -sk "$store" | cut -f1)"
}

tell_root() {
	[ -e "$used" ] || return
	held=yes
	# Not by its name, which would make the file anew in a root that is being removed.
	flock -n 9 9<"$used" && held=no
	printf 'root\t%s\t%s\t%s\t%s\n' "${root##*/}" "$(size "$root")" "$(stat -c %Y "$used")" $held
	while read -r id image _; do
		printf 'image\t%s\t%s\n' "$id" "$image"
	done <"$root/images"
	[ ! -e "$root/snapshot" ] || tell_snapshot "$root"
} 2>/dev/null

tell_snapshot() {
	printf 'snapshot\t%s\n' "$(cat "$1/snapshot")"
}

# The size of a root with all its layers, in KiB. Their names have no blanks.
size() {
	# shellcheck disable=SC2046 # One name a word.
	(cd "$store" && du -sck "$1" $(sort -u "$1/refs") 2>/dev/null | tail -n 1 | cut -f1)
}

remove_keys() {
	for key in "$@"; do
		golden=$store/golden/$key
		case $key in
		'' | .* | */*)
			# A path to something else than a root.
			printf 'missing\t%s\n' "$key"
			continue
			;;
		esac
		rm -f "$store/unfit/$key"
		if ! [ -d "$golden" ]; then
			printf 'missing\t%s\n' "$key"
		elif remove "$golden"; then
			printf 'gone\t%s\n' "$key"
		else
			printf 'held\t%s\n' "$key"
		fi
	done
	collect
}

prune() {
	limit=$1
	before=$(ls "$store/golden")
	collect && evict
	for key in $before; do
		[ -d "$store/golden/$key" ] || printf 'gone\t%s\n' "$key"
	done
}

do=$1
shift
mkdir -p "$store/golden"
case $do in
list) list ;;
remove) locked remove_keys "$@" 8>>"$store/lock" ;;
snapshot)
	golden=$store/golden/$1
	[ ! -e "$golden/snapshot" ] || { touch -c "$golden/used" && tell_snapshot "$golden"; }
	;;
prune) locked prune "$@" 8>>"$store/lock" ;;
esac
