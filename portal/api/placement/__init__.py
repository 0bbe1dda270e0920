"""The placement API, read side: hosts as resource providers, claims as allocations."""
