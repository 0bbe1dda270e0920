"""Tests of the Network API."""
