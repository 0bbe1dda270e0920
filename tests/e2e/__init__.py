"""Nacelle as its users have it: `manage.py run`, real guests, and the real `openstack` command."""
