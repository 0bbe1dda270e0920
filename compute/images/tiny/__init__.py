"""The tiny guest: a bootable image of a few megabytes, built from Debian's kernel and busybox."""
