"""Consoles: tokens, the VNC proxy, the serial bridge, the log."""
