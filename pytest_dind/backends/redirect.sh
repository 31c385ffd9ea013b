# Has the outer engine's own resolver answer the nested containers of a daemon. Run in the daemon's
# container, once that has joined a network whose names are to be known; says why it can't.
#
# That resolver knows the network's names and passes the rest on. Docker's listens on this container's
# loopback alone, Podman's on the network's gateway. What nested containers ask the resolvers that
# supervise.sh has told dockerd of is led there on its way.
# shellcheck shell=sh disable=SC2013

read_port() {
	# 127.0.0.11, as the kernel writes it.
	sed -n 's/^ *[0-9]*: 0B00007F:\([0-9A-F]*\) .*/0x\1/p' "/proc/net/$1" | head -n 1
}

[ ! -e /run/pytest-dind.redirected ] || exit 0
servers=
for server in $(cat /run/pytest-dind.resolvers 2>/dev/null); do
	# What nested containers ask by IPv6 does not come by here.
	case $server in
	*.*.*.*) servers="$servers $server" ;;
	esac
done
if [ -z "$servers" ]; then
	echo "they ask no resolver that the outer engine has given to this container (--dns?)" >&2
	exit 1
fi
own=127.0.0.11 udp=$(read_port udp) tcp=$(read_port tcp)
if [ -z "$udp" ] || [ -z "$tcp" ]; then
	# Podman makes its network's the first that this container asks, when the network is joined.
	own=$(sed -n 's/^nameserver  *\([0-9.]*\) *$/\1/p' /etc/resolv.conf | head -n 1) udp=53 tcp=53
	if [ -z "$own" ] || [ ! -e /run/.containerenv ]; then
		echo "the outer engine has no resolver of its networks in this container" >&2
		exit 1
	fi
	case " $servers " in
	# It was so from the start, and nested containers ask it themselves.
	*" $own "*) exit 0 ;;
	esac
fi

rules() {
	echo '*mangle'
	# With the rule below the kernel would take packets for 127.0.0.1 from neighbours, too.
	echo '-A PREROUTING ! -i lo -d 127.0.0.0/8 -j DROP'
	printf 'COMMIT\n*nat\n'
	for server in $servers; do
		printf -- "-I PREROUTING -d $server -p udp --dport 53 -j DNAT --to $own:%d\\n" "$udp"
		printf -- "-I PREROUTING -d $server -p tcp --dport 53 -j DNAT --to $own:%d\\n" "$tcp"
	done
	echo COMMIT
}

# The last is where the official image has the older kind, which its entrypoint takes where the
# kernel lacks the newer.
for restore in iptables-restore iptables-legacy-restore \
	/usr/local/sbin/.iptables-legacy/iptables-restore; do
	said=$(rules | "$restore" --wait=5 --noflush 2>&1) || continue
	echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet || exit
	: >/run/pytest-dind.redirected
	exit 0
done
echo "iptables-restore: $said" >&2
exit 1
