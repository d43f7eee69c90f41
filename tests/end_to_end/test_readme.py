"""What the README says, works: its commands run against started services, its links and paths lead somewhere."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from flare_client.cli.app import app

if TYPE_CHECKING:
    from tests.services import FlareServices

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SECONDS = 200

pytestmark = pytest.mark.timeout(300)  # the first test also waits for the services to start


class Reader:
    """Somebody who follows the README, with the addresses and the folder of the services that run."""

    def __init__(self, services: "FlareServices", folder: Path) -> None:
        self._replaced = {
            "127.0.0.1:50051": services.ml_address,
            "127.0.0.1:50052": services.scraper_address,
            "127.0.0.1:50053": services.auth_address,
            "~/flare": str(services.data_dir),
        }
        self._folder = folder
        settings = {name: value for name, value in os.environ.items() if not name.startswith("FLARE_")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = {**settings, "PATH": path, "FLARE_CONFIG_DIR": str(folder), "COLUMNS": "120"}

    def run(self, *command: str) -> str:
        """Runs what stands in the README and returns what it prints."""
        for shown, real in self._replaced.items():
            command = tuple(part.replace(shown, real) for part in command)
        done = subprocess.run(
            command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
        printed: str = done.stdout
        return printed

    def run_shell(self, script: str) -> str:
        """Runs lines of the README that the README runs in the virtual environment, which this is."""
        return self.run("bash", "-euo", "pipefail", "-c", script.replace(". .venv/bin/activate\n", ""))


@pytest.fixture(scope="module")
def reader(flare_services: "FlareServices", tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(flare_services, tmp_path_factory.mktemp("reader"))


def block(language: str, first: str) -> str:
    """The README's code of a language that holds a text."""
    [found] = [source for page, source in code(language) if page == "README.md" and first in source]
    return found


def documents(text: str) -> list[dict[str, object]]:
    """JSON documents that stand one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


@pytest.fixture(scope="module")
def first_steps(reader: Reader) -> str:
    """What the commands print; the calls further down the page rest on what they made."""
    return reader.run_shell(block("sh", "flare login"))


def test_the_commands_lead_from_a_data_set_to_a_prediction(first_steps: str) -> None:
    assert "Logged in as accounts/admin" in first_steps
    assert re.search(r"rows +105 train, 23 validation, 22 test", first_steps)
    accuracy = re.search(r"test rows, weights of epoch \d+: accuracy (\S+),", first_steps)
    assert accuracy, first_steps
    assert float(accuracy[1]) >= 0.8
    assert re.search(r"^0 +virginica( +[01]\.\d+){3}$", first_steps, re.MULTILINE)


@pytest.mark.usefixtures("first_steps")
def test_the_example_in_python_predicts_every_test_row(reader: Reader) -> None:
    printed = reader.run(sys.executable, "-c", block("python", "import flare_client"))
    assert "diagnosis_probability_malignant" in printed
    assert "[85 rows x 3 columns]" in printed
    assert "malignant " in printed
    assert "benign " in printed


@pytest.mark.usefixtures("first_steps")
def test_grpcurl_needs_no_files(reader: Reader) -> None:
    parts = re.split(r"^# (.*)\n", block("sh", "grpcurl"), flags=re.MULTILINE)[1:]
    titles, scripts = parts[::2], parts[1::2]
    shown = reader.run_shell("\necho ====\n".join(scripts)).split("====\n")
    printed = dict(zip(titles, shown, strict=True))

    services = printed["Services and methods"]
    assert {"flare.ml.v1.ModelService", "flare.ml.v1.TrainingService"} <= set(services.splitlines())
    assert "rpc Predict ( .flare.ml.v1.PredictRequest )" in services

    found, imported = documents(printed["What can be imported, and what was"])
    assert [each["ref"] for each in list_in(found, "datasets")] == ["iris"]
    assert "datasets/iris" in [each["name"] for each in list_in(imported, "datasets")]

    first, *events, last = documents(printed["Train, and watch the events as they come"])
    assert "snapshot" in first
    assert "JOB_STATE_SUCCEEDED" in str(last["snapshot"])
    told = [dict_in(event, "event") for event in events if "event" in event]
    assert [int(str(event["sequence"])) for event in told] == list(range(1, len(told) + 1))
    assert sum("epochFinished" in event for event in told) == 60

    [prediction] = documents(printed["Predict"])
    [target] = list_in(prediction, "targets")
    assert dict_in(target, "classification")["labels"] == ["virginica"]


def dict_in(document: dict[str, object], key: str) -> dict[str, object]:
    found = document[key]
    assert isinstance(found, dict)
    return found


def list_in(document: dict[str, object], key: str) -> list[dict[str, object]]:
    found = document[key]
    assert isinstance(found, list)
    return found


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test", "check", "fault", "protos", "lock"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    paths = re.findall(
        r"`((?:protos|ml_server|scraper_server|auth_server|servicekit|clients|deploy|docs|tests|tools)/[\w./-]*)`", text
    )
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert not missing


def code(language: str) -> list[tuple[str, str]]:
    """All code of a language, with the page that it is on."""
    return [
        (str(page.relative_to(ROOT)), found)
        for page in PAGES
        for found in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)
    ]


def test_every_flare_command_of_the_pages_is_understood() -> None:
    checked = 0
    for page, script in code("sh"):
        for line in script.replace("\\\n", " ").splitlines():
            if line.startswith("flare "):
                parse(page, shlex.split(line, comments=True))
                checked += 1
    assert checked > 20


def parse(page: str, words: list[str]) -> None:
    """Has the command line take the words apart, without running anything."""
    command: Any = typer.main.get_command(app)
    context, left = None, words
    while True:
        name, *left = left
        try:
            context = command.make_context(name, list(left), parent=context)
        except Exception as error:
            raise AssertionError(f"{page}: `{' '.join(words)}`: {error}") from error
        if not hasattr(command, "resolve_command"):
            return
        _, command, _ = command.resolve_command(context, left)


def test_python_of_the_pages_is_python() -> None:
    for page, source in code("python"):
        compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
