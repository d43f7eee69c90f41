"""`flare demo`, as `make demo` runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.kaggle_emulator import passengers_csv
from tests.services import FlareServices


def run_demo(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[str, dict[str, Any]]:
    """Runs the demo in a folder; returns what it tells and its last line."""
    done = subprocess.run(
        [sys.executable, "-m", "flare_client.cli.main", "demo", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told, _, last = done.stdout.rstrip().rpartition("\n")
    result: dict[str, Any] = json.loads(last)
    return told, result


def test_the_demo_trains_three_networks_that_read_what_they_have_not_seen(
    flare_services: FlareServices, tmp_path: Path
) -> None:
    told, result = run_demo(
        tmp_path,
        flare_services.environment(),
        *("--auth-address", flare_services.auth_address),
        *("--scraper-address", flare_services.scraper_address),
        *("--ml-address", flare_services.ml_address),
    )
    assert result["demo"] == "ok"
    assert [model["kind"] for model in result["models"]] == ["mlp", "cnn", "torch_graph"]
    assert all(model["test_accuracy"] >= 0.95 and model["seconds"] > 0 for model in result["models"])
    assert (tmp_path / "learning-curves.png").read_bytes().startswith(b"\x89PNG")
    for command in ("datasets import", "datasets preview", "views create", "models capture", "train", "predict"):
        assert f"$ flare {command}" in told
    assert "\x1b" not in told


def test_the_demo_does_the_same_with_a_table_of_kaggle(tmp_path: Path) -> None:
    (tmp_path / "passengers.csv").write_bytes(passengers_csv())
    command = [sys.executable, "-m", "tests.kaggle_emulator", str(tmp_path / "passengers.csv")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulator:
        try:
            assert emulator.stdout is not None
            name, _, endpoint = emulator.stdout.readline().strip().partition("=")
            environment = {key: value for key, value in os.environ.items() if not key.startswith("FLARE_")}
            environment |= {
                name: endpoint,
                "FLARE_SCRAPER_KAGGLE_USERNAME": "flare",
                "FLARE_SCRAPER_KAGGLE_KEY": "emulated-key",
                "PYTHONUNBUFFERED": "1",
            }
            options = ("--target", "Survived", "--drop", "PassengerId", "--data-dir", str(tmp_path / "data"))
            told, result = run_demo(tmp_path, environment, "--kaggle", "flare/passengers", *options)
        finally:
            emulator.terminate()
    assert [model["kind"] for model in result["models"]] == ["mlp", "torch_graph"]
    assert all(model["test_accuracy"] > 0.6 for model in result["models"])
    assert "--drop Name" in told  # free text is left out by itself
