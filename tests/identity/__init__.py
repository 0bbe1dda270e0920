"""Tests of who: bootstrap, tokens, roles."""
