"""The entry point. It loads nothing itself, so that Ctrl-C ends the command quietly from its first moment on."""

import os
import signal
import sys

INTERRUPTED = 130


def main() -> None:
    """Runs the command line and ends the process with its exit status."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))  # while modules load there is nothing to tidy up
    from flare_client.cli.app import run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
