"""Everything that a person or a client meets: pages, APIs, identity, and the Django project."""
