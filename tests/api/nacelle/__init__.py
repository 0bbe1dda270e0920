"""Nacelle's own API."""
