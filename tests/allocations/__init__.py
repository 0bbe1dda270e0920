"""Claims, usages, and what they are derived from."""
