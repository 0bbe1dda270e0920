#!/bin/sh
# What the login prompt does not wait for: network, power button, ssh, user data.
. /etc/functions

load_modules button
acpid
uevent /sbin/hotplug.sh >/dev/null 2>&1 &

# Memory that is plugged in is used at once, and only in a way in which it can be taken out again.
echo online_movable > /sys/devices/system/memory/auto_online_blocks

# A file that was written reaches the disk within two seconds, so that a snapshot has it.
echo 50 > /proc/sys/vm/dirty_writeback_centisecs
echo 100 > /proc/sys/vm/dirty_expire_centisecs

for interface in /sys/class/net/eth*; do
    [ -e "$interface" ] && network.sh "${interface##*/}" &
done
dropbear -R -s
load_modules rest
user_data.sh
