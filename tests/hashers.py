"""The password hasher of the tests."""

from portal.identity.hashers import LoginArgon2PasswordHasher


class QuickArgon2(LoginArgon2PasswordHasher):
    """As the real one, at a cost that a thousand tests can pay."""

    time_cost = 1
    memory_cost = 64
