"""Which host: filters, weighers, claims, and the explanation of each choice."""
