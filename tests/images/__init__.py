"""Tests of images: the tiny guest, stores, formats."""
