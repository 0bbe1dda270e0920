"""Tests of the identity API."""
