#!/bin/sh
# stop.sh poweroff|reboot: bring the disk to rest, then stop the machine at once.
cd /
sync
for place in $(awk '$1 ~ /^\/dev\// { print $2 }' /proc/mounts); do
    umount "$place" 2>/dev/null || mount -o remount,ro "$place" 2>/dev/null || echo u > /proc/sysrq-trigger
done
exec busybox "$1" -f
