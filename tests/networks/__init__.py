"""Tests of networks: addresses, ports, security groups."""
