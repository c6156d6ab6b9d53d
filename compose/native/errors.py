"""What a person is told when something cannot be done."""


class Failure(Exception):
    """Its text says what happened and what to do next."""
