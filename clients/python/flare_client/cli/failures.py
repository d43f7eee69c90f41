"""Why the command itself refuses."""


class CommandError(Exception):
    """The command can't do what was asked; the message says what to do."""
