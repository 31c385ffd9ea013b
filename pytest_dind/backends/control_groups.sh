# Whether a container may make control groups and move processes there, as its containers need it. Where
# it may not, the tool that fails says why.
#
# Run by supervise.sh, and by the doctor, in a container of which it is in doubt.
# shellcheck shell=sh

divides() {
	groups=/sys/fs/cgroup
	# Of version 1, the hierarchy without which runc starts nothing.
	[ -f $groups/cgroup.controllers ] || groups=$groups/devices
	group=$groups/pytest-dind
	# With the engine's own groups in here, another container may try the same.
	mkdir -p $group && sh -c 'echo $$ >"$1/cgroup.procs"' sh $group
	moved=$?
	rmdir $group 2>/dev/null
	return $moved
}
