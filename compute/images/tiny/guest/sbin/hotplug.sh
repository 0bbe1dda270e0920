#!/bin/sh
# Called for each event of the kernel: what was plugged in is brought up. (Memory comes up by itself: services.sh)
case "$SUBSYSTEM/$ACTION" in
net/add) case "$INTERFACE" in eth*) network.sh "$INTERFACE" ;; esac ;;
cpu/add) echo 1 > "/sys$DEVPATH/online" ;;
net/remove) kill "$(cat "/run/udhcpc.$INTERFACE.pid")" 2>/dev/null ;;
esac
