#!/bin/sh
# Runs the config drive's user data, once for each instance, when the network is there.
. /etc/functions
data=/run/config/user_data
marker=/run/instance/user-data-ran
[ -s "$data" ] || exit 0

if [ "$(head -c 2 "$data" | hexdump -e '2/1 "%02x"')" = 1f8b ]; then
    gunzip -c < "$data" > "$data.plain" && mv "$data.plain" "$data"
fi
if [ "$(head -c 2 "$data")" != '#!' ]; then
    announce "user data: not a script (it does not begin with #!), ignored: $(head -n 1 "$data" | head -c 40)"
    exit 0
fi
[ -e "$marker" ] && exit 0

attempts=100
while ls /sys/class/net/eth* >/dev/null 2>&1 && [ $attempts -gt 0 ]; do
    [ -n "$(ip -4 address show scope global)" ] && break
    usleep 100000
    attempts=$((attempts - 1))
done

touch "$marker"
sync
chmod 700 "$data"
say 'user data: running'
"$data" </dev/null 2>&1 | tee /var/log/user-data.log /dev/tty1 > /dev/ttyS0
announce 'user data: done'
