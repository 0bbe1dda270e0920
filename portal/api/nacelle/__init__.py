"""The nacelle API."""
