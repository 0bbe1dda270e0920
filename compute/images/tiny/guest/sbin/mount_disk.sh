#!/bin/sh
# Mounts the second partition of the disk that the guest booted from at /mnt/disk; what is kept for
# this instance (host keys, whether its user data has run) lies there below .nacelle/UUID.
for disk in vda sda; do
    [ -b "/dev/${disk}2" ] && mount -t ext4 -o noatime,nodelalloc,commit=1 "/dev/${disk}2" /mnt/disk && break
done
kept="/mnt/disk/.nacelle/$(cat /run/config/instance)"
mkdir -p "$kept/dropbear"
ln -sfn "$kept" /run/instance
ln -sfn "$kept/dropbear" /etc/dropbear
