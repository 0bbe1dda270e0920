"""Tests of the hypervisor drivers: one contract for all of them, and what each has of its own."""
