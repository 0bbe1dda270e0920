#!/bin/sh
# Lets one cloud of Nacelle's in to this host's libvirt, over TLS. It was made for the host at @ADDRESS@ and holds the
# key of its certificate, so do not leave it lying about. It may run again, as it is or with a newer certificate.
#
# It writes /etc/pki/CA/cacert.pem, /etc/pki/libvirt/servercert.pem and /etc/pki/libvirt/private/serverkey.pem, lets in
# exactly the certificate of that cloud (tls_allowed_dn_list), and starts libvirt's own TLS socket. Below /etc/pki/qemu it
# writes what hosts show each other when a guest moves between them while it runs. It opens no firewall.
#
#   sh setup.sh              leaves another authority's certificate alone, and says so
#   sh setup.sh --replace    takes its place, and keeps a copy beside it
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin

client='@CLIENT@'
until='@UNTIL@'
authority='@AUTHORITY@'
certificate='@CERTIFICATE@'
key='@KEY@'
peer_certificate='@PEER_CERTIFICATE@'
peer_key='@PEER_KEY@'

say() { printf '%s\n' "$*"; }
fail() { printf 'Nothing was changed: %s\n' "$*" >&2; exit 1; }

replace=
case "${1:-}" in
    '') ;;
    --replace) replace=yes ;;
    *) fail "the only option is --replace." ;;
esac
[ "$(id -u)" = 0 ] || fail "run this as root."

# Which of libvirt's daemons takes connections from outside: the one for all, or the proxy of the many.
systemd=
[ ! -d /run/systemd/system ] || systemd=yes
daemon=libvirtd
if [ "$systemd" ] && ! systemctl -q is-active libvirtd.socket && ! systemctl -q is-active libvirtd.service &&
    systemctl -q is-active virtqemud.socket; then
    daemon=virtproxyd
fi
configuration=/etc/libvirt/$daemon.conf
[ -f "$configuration" ] || fail "there is no $configuration; install libvirt first (on Debian: apt install libvirt-daemon-system)."

# What stands in the way is said before anything is written.
begin='# --- begin of what Nacelle set ---'
end='# --- end of what Nacelle set ---'
others=$(sed "/^$begin\$/,/^$end\$/d" "$configuration")
sets() { printf '%s\n' "$others" | grep -Eq "^[[:space:]]*$1[[:space:]]*="; }
is_set_to() { printf '%s\n' "$others" | grep -Eq "^[[:space:]]*$1[[:space:]]*=[[:space:]]*$2"; }
! sets tls_allowed_dn_list ||
    fail "$configuration has a tls_allowed_dn_list already. Add \"$client\" to it, comment it out for this script to set it, or decide who may come in."
! is_set_to tls_no_verify_certificate 1 ||
    fail "$configuration has tls_no_verify_certificate = 1, which lets everybody in. Take it out."
! is_set_to auth_tls '"[^n]' || fail "$configuration has auth_tls, which asks for a password besides. Take it out."
for name in ca_file cert_file key_file; do
    ! sets "$name" || fail "$configuration has $name, so certificates lie elsewhere. Take it out."
done
if sets listen_tls && ! is_set_to listen_tls 1; then
    fail "$configuration has listen_tls = 0. Take it out."
fi
ca=/etc/pki/CA/cacert.pem
qemu=/etc/pki/qemu
for file in "$ca" "$qemu/ca-cert.pem"; do
    if [ -e "$file" ] && [ "$(cat "$file")" != "$authority" ] && [ ! "$replace" ]; then
        fail "$file is another authority's, which others may rely on. Run this with --replace to take its place."
    fi
done
for file in "$ca" "$qemu/ca-cert.pem"; do
    if [ -e "$file" ] && [ "$(cat "$file")" != "$authority" ]; then cp -p "$file" "$file.before-nacelle"; fi
done

# Whom QEMU runs as: that user alone, besides root, reads the keys for migration.
user=$(sed -n 's/^[[:space:]]*user[[:space:]]*=[[:space:]]*"+\{0,1\}\([^"]*\)".*/\1/p' /etc/libvirt/qemu.conf 2>/dev/null | tail -n 1)
for name in libvirt-qemu qemu root; do
    [ "$user" ] || ! id -u "$name" >/dev/null 2>&1 || user=$name
done

# put FILE MODE TEXT: in one step.
put() {
    new=$1.new
    (umask 077 && printf '%s\n' "$3" >"$new")
    chmod "$2" "$new"
    mv -f "$new" "$1"
}
umask 022
mkdir -p /etc/pki/CA /etc/pki/libvirt "$qemu"
(umask 077 && mkdir -p /etc/pki/libvirt/private)
put "$ca" 644 "$authority"
put /etc/pki/libvirt/private/serverkey.pem 600 "$key"
put /etc/pki/libvirt/servercert.pem 644 "$certificate"
put "$qemu/ca-cert.pem" 644 "$authority"
for role in server client; do
    put "$qemu/$role-key.pem" 400 "$peer_key"
    chown "$user" "$qemu/$role-key.pem"
    put "$qemu/$role-cert.pem" 644 "$peer_certificate"
done
put "$configuration" "$(stat -c %a "$configuration")" "$others

$begin
listen_tls = 1
tls_allowed_dn_list = [\"$client\"]
$end"
say "Wrote the certificates and $configuration. This host's certificate is good until $until."

if [ "$systemd" ] && [ "$(systemctl is-enabled "$daemon.socket" 2>/dev/null || :)" != masked ]; then
    if ! systemctl -q is-active "$daemon-tls.socket"; then
        # A socket cannot be added to a daemon that runs. Guests go on without it.
        sockets="$daemon.socket $daemon-ro.socket $daemon-admin.socket"
        systemctl stop "$daemon.service" $sockets
        systemctl enable "$daemon-tls.socket"
        systemctl start $sockets "$daemon-tls.socket"
    fi
    systemctl restart "$daemon.service"
    say "$daemon listens on port 16514, and will after each start."
else
    say "libvirt reads this when it is started next. Start it so that it listens: $daemon --daemon --listen"
fi
say "The control node must reach port 16514 here; no firewall was opened. Then add the host as qemu+tls://@URI@/system"
