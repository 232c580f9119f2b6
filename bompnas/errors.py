"""The one exception that means "the user's input is wrong"."""


class InputError(ValueError):
    """Bad input: names the place, says what was found and what is expected.

    The command line prints its message without a traceback and exits with status 2.
    """


class NotExportableError(InputError):
    """A layer cannot be expressed in the integers of an exported file.

    Attributes:
        layer: Its name.
        reason: What stands in the way, and what would help.
    """

    def __init__(self, layer: str, reason: str):
        super().__init__(f"layer {layer!r} cannot be exported: {reason}")
        self.layer = layer
        self.reason = reason
