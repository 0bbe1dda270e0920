"""The password hasher."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class LoginArgon2PasswordHasher(Argon2PasswordHasher):
    """Argon2id at the cost that OWASP's password storage sheet names first: 19 MiB, 2 passes, 1 lane.

    Django's own default takes 100 MiB a login, which a machine with little memory cannot spend on
    every token that is asked for.
    """

    time_cost = 2
    memory_cost = 19_456
    parallelism = 1
