#!/bin/sh
# Called for each event of the kernel: a network interface that was plugged in is brought up.
case "$SUBSYSTEM/$ACTION" in
net/add) case "$INTERFACE" in eth*) network.sh "$INTERFACE" ;; esac ;;
net/remove) kill "$(cat "/run/udhcpc.$INTERFACE.pid")" 2>/dev/null ;;
esac
