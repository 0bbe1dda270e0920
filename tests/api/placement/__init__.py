"""The placement API."""
