"""Tests of hosts: how they come, change, go, and are watched."""
