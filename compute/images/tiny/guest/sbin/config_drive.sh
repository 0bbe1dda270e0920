#!/bin/sh
# config_drive.sh PROCESS: find OpenStack's config drive and lay its facts out below /run/config:
# the drive's own files, `meta` and `network` (one line for each value, see /etc/json.awk).
# PROCESS is the one that loads the CD-ROM's modules: waited for only when no disk is the drive.

label_of() {
    for offset in 32808 43 71; do
        dd if="$1" bs=1 skip="$offset" count=8 2>/dev/null | tr a-z A-Z
        echo
    done
}

find_drive() {
    for device in $(ls /sys/class/block 2>/dev/null | grep -E "$1"); do
        label_of "/dev/$device" | grep -q '^CONFIG-2' && echo "/dev/$device" && return
    done
}

copy_drive() {
    . /etc/functions
    load_modules isofs
    mount -r -t iso9660 "$1" /mnt/config 2>/dev/null || {
        load_modules vfat
        mount -r -t vfat "$1" /mnt/config || return 1
    }
    cp -r /mnt/config/openstack/latest/. /run/config/
    umount /mnt/config
}

mkdir -p /run/config
drive=$(find_drive '^vd[a-z]$')
if [ -z "$drive" ]; then
    while kill -0 "$1" 2>/dev/null; do usleep 10000; done
    drive=$(find_drive '^(sr[0-9]|sd[a-z])$')
fi
[ -n "$drive" ] && copy_drive "$drive"

cd /run/config || exit
for pair in meta_data.json:meta network_data.json:network; do
    [ -f "${pair%:*}" ] && awk -f /etc/json.awk "${pair%:*}" > "${pair#*:}"
done
touch meta network

value_of() { awk -F '\t' -v path="$1" '$1 == path { print $2; exit }' meta; }
name=$(value_of hostname | tr -cd 'A-Za-z0-9.-')
[ -n "$name" ] && echo "${name%%.*}" > /etc/hostname
value_of uuid | tr -cd 'A-Za-z0-9-' > instance
[ -s instance ] || echo none > instance

awk -F '\t' '$1 ~ /^public_keys\// { gsub(/\\n/, "\n", $2); print $2 }' meta > /root/.ssh/authorized_keys
chmod 755 /
chmod 700 /root /root/.ssh
chmod 600 /root/.ssh/authorized_keys
