"""The way to a guest's screen and serial port: tokens, the VNC proxy, the serial bridge."""
