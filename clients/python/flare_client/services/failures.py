"""Why the services can't start, or did not go on."""


class ServicesError(Exception):
    """The services of this machine can't do what was asked; the message says what to do."""


class StartRefused(ServicesError):
    """Nothing was started."""


class ServiceEnded(ServicesError):
    """A service ended by itself; the message names its log."""
