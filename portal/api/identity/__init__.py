"""The identity API."""
