#!/bin/sh
# Gives root the password of the config drive (admin_pass), once for each instance. This file system is made
# anew at each boot, so what the next ones need of it is kept on the disk.
kept=/run/instance/shadow
umask 077
if [ ! -s "$kept" ]; then
    grep -q '^admin_pass' /run/config/meta || exit 0
    hash=$(awk -F '\t' '$1 == "admin_pass" { printf "%s", $2; exit }' /run/config/meta | mkpasswd -m sha256 -P 0)
    echo "root:$hash:19700:0:99999:7:::" > /etc/shadow
    cp /etc/shadow "$kept" 2>/dev/null && sync
    exit 0
fi
cp "$kept" /etc/shadow
