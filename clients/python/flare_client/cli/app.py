"""The command itself: its nouns, and what becomes of an error."""

from __future__ import annotations

import os
import sys

import typer

from flare_client.cli import (
    batch_predict,
    credentials,
    datasets,
    explain,
    jobs,
    login,
    models,
    predict,
    sweeps,
    train,
    up,
    views,
)
from flare_client.cli.demo import demo
from flare_client.cli.failures import CommandError
from flare_client.cli.main import INTERRUPTED
from flare_client.errors import FlareError
from flare_client.services.failures import ServicesError

FAILED = 1
TRACEBACK_VARIABLE = "FLARE_TRACEBACK"

app = typer.Typer(
    name="flare",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (datasets.app, credentials.app, views.app, models.app, jobs.app, sweeps.app):
    app.add_typer(group)
for command in (
    login.login,
    train.train,
    predict.predict,
    explain.explain,
    batch_predict.batch_predict,
    demo,
    up.up,
):
    app.command()(command)


@app.callback()
def _nouns() -> None:
    """Turns a data set into a served neural network."""


# typer uses the installed click or brings its own copy, by version: either way this is the base of its complaints.
_COMMAND_LINE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]


def run(arguments: list[str]) -> int:
    """Runs a command line and returns its exit status: 0, 1 after an error, 130 after Ctrl-C."""
    try:
        status = app(arguments, prog_name="flare", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # who read the output has gone: nothing to say
        return FAILED
    except (FlareError, ServicesError, CommandError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except ModuleNotFoundError as error:
        return _fail(f"this needs the Python package {error.name}: install Flare with the extra that brings it")
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except _COMMAND_LINE_ERROR as error:
        message = _describe_misuse(error)
        return _fail(message) if message else FAILED  # without one the help was shown
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        return _fail(f"{type(error).__name__}: {error} (a fault of this command: {TRACEBACK_VARIABLE}=1 shows where)")
    return status if isinstance(status, int) else 0


def _describe_misuse(error: Exception) -> str:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if not message:
        return ""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "flare"
    return f"{message.rstrip('.')} (see {command} --help)"


def _fail(message: str) -> int:
    sys.stderr.write(f"flare: {' '.join(message.split())}\n")
    return FAILED
