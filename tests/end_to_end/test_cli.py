"""The `flare` command, as scripts and people use it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from flare_client.cli.app import run as run_command

from tests.services import FlareServices

MODULE = """
import torch
from torch import nn


class Reader(nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.hidden = nn.Linear(4, hidden)
        self.out = nn.Linear(hidden, 3)

    def forward(self, rows):
        return self.out(torch.relu(self.hidden(rows)))
"""


@pytest.fixture(scope="module")
def environment(flare_services: FlareServices, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without settings of its own: who calls comes from `flare login`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FLARE_")}
    return {**kept, "FLARE_CONFIG_DIR": str(tmp_path_factory.mktemp("config"))}


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture(scope="module")
def flare(flare_services: FlareServices, environment: dict[str, str]) -> Iterator[Command]:
    """Runs a command line, logged in; in this process, which spares each its start."""

    def run(*arguments: str) -> Done:
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = run_command(list(arguments))
        return Done(status, output.getvalue(), errors.getvalue())

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("FLARE_")]:
            patch.delenv(name)
        patch.setenv("FLARE_CONFIG_DIR", environment["FLARE_CONFIG_DIR"])
        logged_in = run("login", "--data-dir", str(flare_services.data_dir))
        assert logged_in.returncode == 0, logged_in.stderr
        assert "accounts/admin" in logged_in.stdout
        yield run


@pytest.fixture(scope="module")
def view(flare: Command) -> str:
    """A view of the iris data."""
    name = unique("iris")
    assert flare("datasets", "import", "iris", "--id", name).returncode == 0
    made = flare("views", "create", name, "--target", "species", "--stratify", "species", "--seed", "7", "--id", "main")
    assert made.returncode == 0, made.stderr
    assert "species" in made.stdout
    return f"{name}/main"


@pytest.fixture(scope="module")
def trained(flare: Command, view: str) -> str:
    """A trained model."""
    name = unique("iris")
    made = flare("models", "create", name, "--mlp", "16", "--view", view)
    assert made.returncode == 0, made.stderr
    done = flare("train", name, view, "--epochs", "10", "--lr", "0.02", "--batch-size", "16", "--seed", "1")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[1][:3] == ["epoch", "train", "loss"]
    assert [row[0] for row in rows[2:12]] == [str(epoch) for epoch in range(1, 11)]
    assert rows[-1] == ["version", f"models/{name}/versions/1"]
    assert (
        rows[rows.index(["species", "PRECISION", "RECALL", "F1", "ROWS", "MOSTLY", "TAKEN", "FOR"]) + 1][0] == "setosa"
    )
    assert "\x1b" not in done.stdout + done.stderr  # no terminal, no control codes
    return name


def unique(name: str) -> str:
    """A name that no other test has."""
    return f"{name}-{uuid4().hex[:8]}"


def document(done: Done) -> Any:
    """The one JSON document on standard output."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def complaint(done: Done) -> str:
    """The one line on standard error of a command that failed."""
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("flare: ")
    return line


def test_samples_are_found_imported_and_looked_at(flare: Command) -> None:
    name = unique("wine")
    assert "wine" in [found["ref"] for found in document(flare("datasets", "search", "wine", "-o", "json"))]
    assert document(flare("datasets", "files", "wine", "-o", "json"))[0]["path"]
    dataset = document(flare("datasets", "import", "wine", "--id", name, "-o", "json"))
    assert (dataset["name"], dataset["row_count"]) == (f"datasets/{name}", 178)
    assert name in flare("datasets", "list").stdout
    assert "alcohol" in flare("datasets", "describe", name).stdout
    rows = document(flare("datasets", "preview", name, "--rows", "2", "--column", "alcohol", "-o", "json"))
    assert [list(row) for row in rows] == [["alcohol"], ["alcohol"]]
    assert flare("datasets", "delete", name).returncode == 0
    assert name not in flare("datasets", "list").stdout


def test_a_file_of_ones_own_is_uploaded(flare: Command, tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("a,b\n" + "".join(f"{n},{n * n}\n" for n in range(40)))
    name = unique("mine")
    assert (
        document(flare("datasets", "upload", str(tmp_path / "my.csv"), "--id", name, "-o", "json"))["row_count"] == 40
    )
    view = document(
        flare(
            *("views", "create", name, "--target", "b", "--rename", "a=x", "--cast", "b=float"),
            *("--missing", "a=drop_row", "--split", "0.5,0.25,0.25", "--seed", "3", "-o", "json"),
        )
    )
    assert view["row_counts"] == {"train": 20, "validation": 10, "test": 10}
    assert [column["name"] for column in view["resolved_columns"]] == ["x", "b"]
    assert "drop_row" in flare("views", "describe", view["name"]).stdout
    assert view["name"] in [found["name"] for found in document(flare("views", "list", name, "-o", "json"))]


def test_a_training_in_json_is_a_line_for_each_message(flare: Command, view: str) -> None:
    name = unique("iris")
    flare("models", "create", name, "--mlp", "4")
    asked = ("--loss", "focal", "--plan", "focal_gamma=1.5", "--plan", "deterministic=true", "--engine", "torch")
    done = flare("train", name, view, "--epochs", "3", "-o", "json", *asked)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"]["sequence"] for event in lines if "event" in event] == list(
        range(1, len([event for event in lines if "event" in event]) + 1)
    )
    assert lines[0]["snapshot"]["model"] == f"models/{name}"
    assert lines[0]["snapshot"]["plan"]["focal"] == {"gamma": 1.5}
    assert lines[0]["snapshot"]["plan"]["deterministic"]
    assert lines[-1]["snapshot"]["state"] == "JOB_STATE_SUCCEEDED"
    twice = flare("train", name, view, "--epochs", "3", "--plan", "epochs=4")
    assert (twice.returncode, "epochs is given twice" in twice.stderr) == (1, True)


def test_rows_are_predicted_from_a_file_or_from_the_command_line(
    flare: Command, trained: str, view: str, tmp_path: Path
) -> None:
    columns = [
        column["name"]
        for column in document(flare("views", "describe", view, "-o", "json"))["resolved_columns"]
        if column["role"] == "COLUMN_ROLE_INPUT"
    ]
    values = dict(zip(columns, (5.1, 3.5, 1.4, 0.2), strict=True))
    cells = [part for name, value in values.items() for part in ("--row", f"{name}={value}")]
    answer = document(flare("predict", trained, *cells, "-o", "json"))
    assert answer["version"] == f"models/{trained}/versions/1"
    assert answer["predictions"][0]["species"] == "setosa"
    (tmp_path / "rows.json").write_text(json.dumps([values, values]))
    assert flare("predict", trained, str(tmp_path / "rows.json")).stdout.count("setosa") == 2 + 1  # and a heading
    (tmp_path / "rows.csv").write_text(",".join(values) + "\n" + ",".join(map(str, values.values())) + "\n")
    assert document(flare("predict", trained, str(tmp_path / "rows.csv"), "-o", "json")) == answer
    assert "'colour'" in complaint(flare("predict", trained, *cells, "--row", "colour=red"))


def test_a_module_in_a_file_is_captured(flare: Command, view: str, tmp_path: Path) -> None:
    (tmp_path / "readers.py").write_text(MODULE)
    name, file = unique("reader"), tmp_path / "readers.py"
    model = document(
        flare(
            *("models", "capture", name, f"{file}:Reader", "--input-shape", "4", "--argument", "hidden=6"),
            *("--view", view, "-o", "json"),
        )
    )
    assert model["has_initial_weights"] is True
    assert "no 'Writer'" in complaint(flare("models", "capture", name, f"{file}:Writer", "--input-shape", "4"))
    assert "FILE.py:ClassName" in complaint(flare("models", "capture", name, str(file), "--input-shape", "4"))


def test_a_model_is_described_exported_and_deleted(flare: Command, trained: str, tmp_path: Path) -> None:
    assert "accuracy" in flare("models", "describe", trained).stdout
    exported = document(
        flare("models", "export", trained, "--format", "safetensors", "--to", str(tmp_path), "-o", "json")
    )
    assert Path(exported["path"]).stat().st_size == exported["size_bytes"]
    again = flare("models", "export", trained, "--format", "safetensors", "--to", str(tmp_path))
    assert f"{exported['path']} is there already: --force replaces it" in complaint(again)
    (whole := tmp_path / "whole.zip").write_bytes(b"old")
    assert flare("models", "export", trained, "--to", str(whole), "--force").returncode == 0
    copy = unique("copy")
    for number in (1, 2):
        imported = flare("models", "import", copy, str(whole))
        assert f"models/{copy}/versions/{number}" in imported.stdout, imported.stderr
        assert "species" in imported.stdout
    assert flare("models", "delete", f"{copy}/versions/1").returncode == 0
    (left,) = document(flare("models", "describe", copy, "-o", "json"))["versions"]
    assert left["name"] == f"models/{copy}/versions/2"

    name = unique("spare")
    (tmp_path / "spec.json").write_text('{"mlp": {"hiddenUnits": [8], "dropout": 0.1}}')
    assert flare("models", "create", name, "--spec", str(tmp_path / "spec.json")).returncode == 0
    assert name in [model["name"].partition("/")[2] for model in document(flare("models", "list", "-o", "json"))]
    assert flare("models", "delete", name).returncode == 0


def test_a_versions_engine_is_shown_with_what_it_takes(flare: Command, trained: str) -> None:
    (version,) = document(flare("models", "describe", trained, "-o", "json"))["versions"]
    serving = version["engine"]
    name = serving["engine"].removeprefix("ENGINE_").lower()
    (measured,) = [each for each in serving["measurements"] if each["engine"] == serving["engine"]]
    single, batch = measured["single_row_microseconds"], measured["batch_microseconds"]
    shown = flare("models", "describe", trained).stdout
    assert f"{name}: {single:.3g} us, {batch:.3g} us for 32 rows" in shown


def test_how_each_class_does_is_shown_of_either_part(flare: Command, trained: str) -> None:
    told = document(flare("models", "report", trained, "-o", "json"))
    (report,) = told["reports"]
    matrix = np.reshape(report["confusion_matrix"], (3, 3))
    lines = [line.split() for line in flare("models", "report", trained).stdout.splitlines()]
    assert lines[0] == ["version", f"models/{trained}/versions/1"]
    heading = lines.index(["species", "\\", "TAKEN", "FOR", "setosa", "versicolor", "virginica"])
    assert [[int(count) for count in line[1:]] for line in lines[heading + 1 :]] == matrix.tolist()
    for line, each in zip(lines[heading - 3 : heading], report["classes"], strict=True):
        assert line[:2] == [each["class_label"], f"{each['precision']:.4f}"]
        assert line[4] == str(each["row_count"])
    validated = document(flare("models", "report", trained, "--part", "validation", "-o", "json"))
    assert {metric["name"] for metric in validated["metrics"]} >= {"precision_macro", "recall_macro"}
    assert validated["reports"][0]["classes"] != report["classes"]


def test_versions_are_compared_on_the_same_rows(flare: Command, trained: str, view: str) -> None:
    other = unique("iris")
    flare("models", "create", other, "--mlp", "2")
    assert flare("train", other, view, "--epochs", "1").returncode == 0
    told = document(flare("models", "compare", trained, other, "--confidence", "0.9", "-o", "json"))
    versions = [version["name"] for version in told["versions"]]
    assert versions == [f"models/{name}/versions/1" for name in (trained, other)]
    done = flare("models", "compare", trained, other, "--confidence", "0.9")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["first", f"{trained}/1"] in lines
    accuracy = (
        lines.index(["species", "VERSION", "VALUE", "90", "%", "INTERVAL", "VS", "FIRST", "90", "%", "INTERVAL", "P"])
        + 1
    )
    estimates = next(metric for metric in told["targets"][0]["metrics"] if metric["name"] == "accuracy")["estimates"]
    assert lines[accuracy][:2] == ["accuracy", "(higher"]
    assert lines[accuracy][4:6] == [f"{trained}/1", f"{estimates[0]['value']:.4f}"]
    assert lines[accuracy + 1][:2] == [f"{other}/1", f"{estimates[1]['value']:.4f}"]
    assert "McNemar" in done.stdout
    assert "note:" not in done.stdout
    assert "two versions or more" in complaint(flare("models", "compare", trained))


def test_a_view_is_predicted_into_a_data_set_and_the_job_is_among_the_others(
    flare: Command, trained: str, view: str
) -> None:
    name = unique("predicted")
    done = flare("batch-predict", trained, view, "--id", name, "--part", "test", "--only-predictions")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["data", "set", f"datasets/{name}"]
    jobs = document(flare("jobs", "list", "-o", "json"))
    predictions = [each for each in jobs if each["name"].startswith("batchPredictions/")]
    (job,) = [each["name"] for each in predictions if f"datasets/{name}" in json.dumps(each)]
    assert f"datasets/{name}" in flare("jobs", "watch", job).stdout
    lines = [json.loads(line) for line in flare("jobs", "watch", job, "-o", "json").stdout.splitlines()]
    assert next(line["event"]["sequence"] for line in lines if "event" in line) == 1
    assert "already succeeded" in complaint(flare("jobs", "cancel", job))
    assert "there is a data set" in complaint(flare("batch-predict", trained, view, "--id", name))
    assert "--only-predictions" in complaint(
        flare("batch-predict", trained, view, "--id", unique("no"), "--column", "x", "--only-predictions")
    )


def test_a_sweep_is_started_watched_and_looked_at(flare: Command, view: str) -> None:
    model = unique("swept")
    assert flare("models", "create", model, "--mlp", "8", "--view", view).returncode == 0
    done = flare(
        *("sweeps", "create", model, view, "--objective", "accuracy", "--sampler", "grid:points=2"),
        *(
            "-p",
            "learning_rate=0.001..0.1:log",
            "-p",
            "batch_size=16,32",
            "--plan",
            "epochs=3",
            "--plan",
            "engine=torch",
        ),
    )
    assert done.returncode == 0, done.stderr
    sweep = done.stderr.split(":")[0]
    lines = done.stdout.splitlines()
    assert [line.split()[:3] for line in lines if line.startswith("trial")] == [
        ["trial", f"{number}/4", "succeeded"] for number in range(1, 5)
    ]
    assert "  trial 1 is the best so far" in lines
    assert lines[-1].split() == ["version", f"models/{model}/versions/1"]
    trials = document(flare("sweeps", "trials", sweep, "-o", "json"))
    assert [trial["parameters"]["batch_size"]["integer_value"] for trial in trials] == [16, 32, 16, 32]
    rows = [line.split() for line in flare("sweeps", "trials", sweep, "--best-first").stdout.splitlines()]
    assert rows[0][:5] == ["TRIAL", "STATE", "ACCURACY", "EPOCH", "EPOCHS"]
    assert rows[1][0] == "*"
    values = [float(row[-6]) for row in rows[1:]]
    assert values == sorted(values, reverse=True)
    assert "4 succeeded, of at most 4" in flare("sweeps", "get", sweep).stdout
    assert sweep.removeprefix("sweeps/") in flare("sweeps", "list").stdout
    assert "already succeeded" in complaint(flare("sweeps", "cancel", sweep))
    assert f"a trial of {sweep.removeprefix('sweeps/')}" in flare("jobs", "list").stdout


def test_ctrl_c_leaves_the_training_running_and_says_how_to_watch_it(
    flare: Command, view: str, environment: dict[str, str]
) -> None:
    name = unique("iris")
    flare("models", "create", name, "--mlp", "4")
    command = [sys.executable, "-m", "flare_client.cli.main", "train", name, view, "--epochs", "100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.split()[:1] == ["2"]:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    job = errors.rpartition("flare jobs watch ")[2].strip()
    states = {found["name"]: found["state"] for found in document(flare("jobs", "list", "-o", "json"))}
    assert states[job] == "JOB_STATE_RUNNING"
    assert flare("jobs", "cancel", job).returncode == 0
    watched = flare("jobs", "watch", job)
    assert watched.returncode == 1
    assert watched.stderr.splitlines()[-1] == f"flare: {job} was cancelled"


def test_detached_work_is_watched_later(flare: Command, view: str) -> None:
    name = unique("wine")
    job = document(flare("datasets", "import", "wine", "--id", name, "--detach", "-o", "json"))
    assert f"datasets/{name}" in flare("jobs", "watch", job["name"]).stdout
    model = unique("iris")
    flare("models", "create", model, "--mlp", "4")
    training = document(flare("train", model, view, "--epochs", "2", "--detach", "-o", "json"))
    assert f"models/{model}/versions/1" in flare("jobs", "watch", training["name"]).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["datasets", "describe", "no-such-thing"], "no-such-thing"),
        (["datasets", "upload", "/no/such/file.csv"], "/no/such/file.csv"),
        (["datasets", "import", "no-such-sample"], "no-such-sample"),
        (["views", "create", "x", "--target", "y", "--cast", "y"], "NAME=VALUE"),
        (["views", "create", "x", "--target", "y", "--cast", "y=decimal"], "integer, float"),
        (["views", "create", "x", "--target", "y", "--split", "a,b"], "list of numbers"),
        (["models", "create", "x"], "one of --mlp"),
        (["models", "create", "x", "--mlp", "a"], "list of numbers"),
        (["models", "create", "x", "--cnn", "1x8x8"], "--block"),
        (["train", "x", "y"], "DATASET/VIEW"),
        (["train", "x", "y/z", "--optimizer", "lion"], "adam, adamw"),
        (["train", "x"], "flare train --help"),
        (["jobs", "watch", "nothing"], "flare jobs list"),
        (["predict", "x"], "--row NAME=VALUE"),
        (["sweeps", "create", "x", "y/z", "-p", "learning_rate=a..b"], "1e-4..0.1"),
        (["sweeps", "create", "x", "y/z", "-p", "learning_rate=0.1", "--pruner", "mean"], "no_pruner, median"),
        (["explain", "x"], "--row NAME=VALUE"),
        (["explain", "x", "--row", "a=1", "--method", "magic"], "integrated_gradients, permutation"),
        (["no-such-noun"], "flare --help"),
        (["predict", "x@99", "--row", "a=1"], "version 99 is written x/versions/99"),
        (["models", "set-alias", "x", "Prod", "1"], "small letters"),
        (["models", "set-alias", "x", "prod", "--share", "3=0"], "both at least 1"),
        (["models", "set-alias", "x", "prod", "1", "--shadow", "2", "--no-shadow"], "give one of them"),
        (["models", "shadow", "x"], "MODEL@ALIAS"),
        (["models", "delete", "x@prod"], "its id alone"),
        (["models", "import", "x", "/no/such/file.zip"], "/no/such/file.zip"),
        (["datasets", "list", "--no-such-option"], "flare datasets list --help"),
        (["login", "--data-dir", "/no/such/folder"], "flare up"),
        (["login", "--username", "ann"], "--password-file"),
        (["demo", "--kaggle", "a/b"], "--target"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(flare: Command, arguments: list[str], message: str) -> None:
    assert message in complaint(flare(*arguments))


def test_an_output_that_nobody_reads_on_is_no_error(view: str, environment: dict[str, str], flare: Command) -> None:
    command = [sys.executable, "-m", "flare_client.cli.main", "views", "describe", view]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_wrong_password_is_refused_in_a_line(flare: Command, flare_services: FlareServices, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong\n")
    folder = str(flare_services.data_dir)
    assert "password" in complaint(flare("login", "--data-dir", folder, "--password-file", str(tmp_path / "password")))


def test_without_a_login_a_command_says_how_to_log_in(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flare_client.cli.main", "datasets", "list"],
        capture_output=True,
        text=True,
        env={**environment, "FLARE_CONFIG_DIR": str(tmp_path)},
        check=False,
    )
    assert "flare login" in complaint(Done(done.returncode, done.stdout, done.stderr))


def test_a_second_flare_up_on_the_same_folder_is_refused(flare: Command, flare_services: FlareServices) -> None:
    again = flare("up", "--data-dir", str(flare_services.data_dir), "--ml-address", "127.0.0.1:0")
    assert "already up" in complaint(again)


def test_a_port_in_use_is_told_before_anything_starts(
    flare: Command, flare_services: FlareServices, tmp_path: Path
) -> None:
    taken = flare_services.ml_address
    free = ["--auth-address", "127.0.0.1:0", "--scraper-address", "127.0.0.1:0"]
    refused = flare("up", "--data-dir", str(tmp_path / "new"), *free, "--ml-address", taken)
    assert taken in complaint(refused)
    assert "--ml-address" in refused.stderr
    assert not (tmp_path / "new" / "logs").exists()
