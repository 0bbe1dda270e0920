"""Management commands of compute."""
