"""The one exception users are meant to see: what was found, what was expected, what to write."""


class DpcError(Exception):
    """A problem the user can solve.

    The message is a single line: found, expected, what to write. The command line prints it after `error:` and exits
    with status 1; nothing half-written is left behind.
    """
