"""Who: domains, projects, users, roles, tokens and policy. Knows nothing of compute."""
