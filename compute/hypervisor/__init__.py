"""Hypervisors as values and verbs: what a host can do, with no database and no Django in sight."""
