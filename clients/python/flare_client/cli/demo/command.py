"""The command and its options."""

from __future__ import annotations

import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

import flare_client
from flare_client import Flare
from flare_client.cli.demo.narrator import Narrator
from flare_client.cli.demo.steps import Steps, Trained
from flare_client.cli.demo.stories import tell_of_kaggle, tell_of_samples
from flare_client.cli.failures import CommandError
from flare_client.cli.output import Output, OutputFormat, print_json_line, stderr, stdout
from flare_client.services import Addresses, Supervisor

LOWEST_ACCURACY = 0.95
DRAIN_SECONDS = 3.0


def demo(
    kaggle: Annotated[
        str | None, typer.Option(metavar="OWNER/SLUG", help="a table of Kaggle's instead of the shipped data sets")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="with --kaggle: what is predicted")] = None,
    file: Annotated[str, typer.Option(help="with --kaggle: file of the data set, if it holds several")] = "",
    drop: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="with --kaggle: column to leave out")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="folder for the services that the demo starts; a temporary one if left out")
    ] = None,
    auth_address: Annotated[str | None, typer.Option(help="with the other two: use services that run")] = None,
    scraper_address: Annotated[str | None, typer.Option(help="likewise")] = None,
    ml_address: Annotated[str | None, typer.Option(help="likewise")] = None,
    plot: Annotated[Path, typer.Option(help="where the learning curves go")] = Path("learning-curves.png"),
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show all of Flare: find and import data, train three networks on it, predict. Ends with a line of JSON."""
    if (kaggle is None) != (target is None):
        raise CommandError("--kaggle OWNER/SLUG and --target COLUMN belong together")
    given = (auth_address, scraper_address, ml_address)
    if any(given) and not all(given):
        raise CommandError("--auth-address, --scraper-address and --ml-address belong together")
    if any(given) and data_dir is not None:
        raise CommandError("--data-dir is for services that the demo starts: leave it or the addresses out")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the services must be taken down in either case
    began = time.monotonic()
    narrator = Narrator(stderr() if output is OutputFormat.JSON else stdout())
    # Names of a run must not meet those of another one on the same services.
    prefix = f"demo-{secrets.token_hex(3)}-" if any(given) or data_dir is not None else ""
    with ExitStack() as resources:
        if auth_address and scraper_address and ml_address:
            flare = flare_client.connect(auth=auth_address, scraper=scraper_address, ml=ml_address)
        else:
            flare = resources.enter_context(_started(narrator, data_dir))
        resources.enter_context(flare)
        if kaggle is not None and target is not None:
            trained = tell_of_kaggle(flare, narrator, prefix, kaggle, file, target, drop or [])
        else:
            trained = tell_of_samples(flare, narrator, prefix)
        Steps(flare, narrator).sum_up(trained, plot)
    is_low = kaggle is None and any((model.test_accuracy or 0.0) < LOWEST_ACCURACY for model in trained)
    print_json_line(_result(trained, time.monotonic() - began, "low accuracy" if is_low else "ok"))
    if is_low:
        raise CommandError(f"a network named less than {LOWEST_ACCURACY:.0%} of the test rows rightly")


def _result(trained: list[Trained], seconds: float, outcome: str) -> dict[str, object]:
    models = [
        {
            "name": model.name,
            "kind": model.kind,
            "test_accuracy": None if model.test_accuracy is None else round(model.test_accuracy, 4),
            "seconds": round(model.seconds, 2),
        }
        for model in trained
    ]
    return {"demo": outcome, "models": models, "seconds": round(seconds, 2)}


@contextmanager
def _started(narrator: Narrator, data_dir: Path | None) -> Iterator[Flare]:
    """Services of the demo's own, and a connection to them as their administrator."""
    folder = data_dir or Path(tempfile.mkdtemp(prefix="flare-demo-"))
    narrator.step("Start the three services on this machine")
    narrator.command("up", "--data-dir", str(folder))
    addresses = Addresses(*["127.0.0.1:0"] * 4)
    try:
        with Supervisor(folder, addresses, drain_seconds=DRAIN_SECONDS) as supervisor:
            supervisor.wait_until_healthy(lambda service: narrator.say(f"{service} is healthy"))
            where = supervisor.addresses
            yield flare_client.connect(
                auth=where.auth,
                scraper=where.scraper,
                ml=where.ml,
                username="admin",
                password=supervisor.data.admin_password_file.read_text().strip(),
            )
    except KeyboardInterrupt:
        narrator.say("\nInterrupted: the services are being stopped.")
        raise
    finally:
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
