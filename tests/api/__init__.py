"""Tests of the APIs on the wire."""
