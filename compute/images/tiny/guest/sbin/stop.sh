#!/bin/sh
# stop.sh poweroff|reboot: bring the disk to rest, then stop the machine at once.
sync
cd /
umount /mnt/disk 2>/dev/null || mount -o remount,ro /mnt/disk 2>/dev/null || echo u > /proc/sysrq-trigger
exec busybox "$1" -f
