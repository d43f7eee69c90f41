"""The Go client: builds with Debian's packages, passes its own tests, and its example trains on running services."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import CheckExample
    from tests.services import FlareServices

CLIENT = Path(__file__).parents[2] / "clients" / "go"
DEBIAN_GRPC = Path("/usr/share/gocode/src/google.golang.org/grpc")

pytestmark = pytest.mark.timeout(400)  # the first one compiles grpc and the generated code

Go = Callable[..., str]


@pytest.fixture(scope="module")
def go() -> Go:
    """Runs a go command on the client with Debian's packages; fails with all that it printed."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed: the Go client can't be tested")
    if not DEBIAN_GRPC.is_dir():
        pytest.skip(f"{DEBIAN_GRPC} is missing (Debian's golang-google-grpc-dev): the Go client can't be tested")

    def run(*arguments: str) -> str:
        done = subprocess.run([CLIENT / "debian_build.sh", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"go {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="module")
def example(go: Go, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training example as a program."""
    program = tmp_path_factory.mktemp("go") / "train"
    go("build", "-o", str(program), "./examples/train")
    return program


def test_is_formatted(go: Go) -> None:
    ours = [str(CLIENT / "flare"), str(CLIENT / "examples")]
    assert subprocess.run(["gofmt", "-l", *ours], capture_output=True, text=True, check=True).stdout == ""


def test_passes_vet(go: Go) -> None:
    go("vet", "./...")


def test_passes_its_own_tests(go: Go) -> None:
    assert "ok  \tflare.example/go/flare" in go("test", "./...")


def test_module_file_names_what_the_code_imports() -> None:
    """There is no go.sum, so that nobody's hashes are made up; `go mod tidy` writes it."""
    assert not (CLIENT / "go.sum").exists()
    module = (CLIENT / "go.mod").read_text()
    for required in ("google.golang.org/grpc ", "google.golang.org/protobuf ", "google.golang.org/genproto "):
        assert f"\t{required}v" in module


def test_example_trains_and_predicts(
    example: Path, flare_services: "FlareServices", check_example: "CheckExample"
) -> None:
    done = subprocess.run([example], env=flare_services.environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    check_example(done.stdout)


def test_example_tells_a_wrong_password_in_one_line(example: Path, flare_services: "FlareServices") -> None:
    environment = {**flare_services.environment(), "FLARE_PASSWORD": "wrong"}
    done = subprocess.run([example], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("train: Unauthenticated (CREDENTIALS_REJECTED): ")
    assert done.stderr.count("\n") == 1
