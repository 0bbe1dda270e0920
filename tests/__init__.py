"""Tests, in the tree of the code that they are about."""
