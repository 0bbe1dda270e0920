"""Tests of the Image API."""
