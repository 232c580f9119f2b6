"""The one exception that means "the user's input is wrong"."""


class InputError(ValueError):
    """Bad input: names the place, says what was found and what is expected.

    The command line prints its message without a traceback and exits with status 2.
    """
