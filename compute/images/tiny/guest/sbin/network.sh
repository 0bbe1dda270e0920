#!/bin/sh
# network.sh INTERFACE: give it its static address from the config drive, or else one by DHCP.
. /etc/functions
facts=/run/config/network
own_mac=$(cat "/sys/class/net/$1/address")
ip link set "$1" up

fact() { awk -F '\t' -v path="$1" '$1 == path { print $2; exit }' "$facts"; }
link=$(awk -F '\t' -v mac="$own_mac" '
    $1 ~ /ethernet_mac_address$/ && tolower($2) == mac { print $1; exit }' "$facts")
link=$(fact "${link%/*}/id")
networks=$(awk -F '\t' -v link="$link" '
    $1 ~ /^networks\/[0-9]+\/link$/ && $2 == link { print substr($1, 1, length($1) - 5) }' "$facts")
for network in $networks; do
    [ "$(fact "$network/type")" = ipv4 ] || continue
    address=$(fact "$network/ip_address")
    netmask=$(fact "$network/netmask")
    gateway=$(fact "$network/routes/0/gateway")
    ifconfig "$1" "${address%/*}" netmask "${netmask:-255.255.255.0}"
    [ -n "$gateway" ] && ip route replace default via "$gateway" dev "$1"
    awk -F '\t' '$1 ~ /services\/[0-9]+\/address$/ { print "nameserver " $2 }' "$facts" > /etc/resolv.conf
    announce_address "$1" "$address"
    exit
done
exec udhcpc -i "$1" -b -t 4 -T 1 -A 1 -S -p "/run/udhcpc.$1.pid" -s /etc/udhcpc.script \
    -x "hostname:$(hostname)" >/dev/null 2>&1
