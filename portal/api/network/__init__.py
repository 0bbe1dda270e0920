"""The network API."""
