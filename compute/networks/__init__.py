"""Networks: addresses and security groups."""
