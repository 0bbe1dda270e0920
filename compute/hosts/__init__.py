"""Hosts: connections to them, their registration, and the watcher."""
