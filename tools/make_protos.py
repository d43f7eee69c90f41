"""Makes everything that follows from the protos: Python, Go and TypeScript code and the reference pages.

    python tools/make_protos.py           remakes it all
    python tools/make_protos.py --check   changes nothing; fails and lists the files that are out of date

Everything is made in a temporary folder first, so a failure leaves the tree as it was, and an unchanged file keeps
its time stamp. This file needs the standard library only: the rest is in `.venv-protos`, which it makes on first
use, and in `clients/ts/node_modules`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-protos"
REQUIREMENTS = ROOT / "tools" / "protos-requirements.txt"
TS_CLIENT = ROOT / "clients" / "ts"


class GenerationError(Exception):
    """What stopped the making, in words for the terminal."""


@dataclass(frozen=True)
class Target:
    """One kind of generated file: it fills `output` and owns every file in there."""

    title: str
    output: str
    make: Callable[[Path], None]
    """Writes into a folder that stands for the repository's root."""
    programs: tuple[str, ...] = ()
    remedy: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes the code and the reference pages that follow from the protos.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file is out of date")
    check = parser.parse_args().check
    try:
        prepare_venv()
        return check_targets() if check else write_targets()
    except GenerationError as error:
        print(f"make_protos: {error}", file=sys.stderr)
        return 1


def write_targets() -> int:
    """Remakes every target. Raises GenerationError if a program is missing: half an update would be worse than none."""
    if not (TS_CLIENT / "node_modules").is_dir():
        install_ts_plugin()
    for target in TARGETS:
        if missing := missing_programs(target):
            raise GenerationError(f"{target.title} needs {missing}: {target.remedy}")
    with tempfile.TemporaryDirectory() as folder:
        made_root = Path(folder)
        make(TARGETS, made_root)
        for target in TARGETS:
            made, kept = files_under(made_root / target.output), files_under(ROOT / target.output)
            changed = differences(made, kept)
            for path in changed:
                place = ROOT / target.output / path
                if path in made:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(made[path])
                else:
                    place.unlink()
            drop_empty_folders(ROOT / target.output)
            print(f"{target.title}: {len(made)} files in {target.output}, {len(changed)} changed")
    return 0


def check_targets() -> int:
    """Compares what would be made with what is there; leaves out, and says so, what this machine cannot make."""
    targets = []
    for target in TARGETS:
        if missing := missing_programs(target):
            print(f"{target.title}: not checked, this machine lacks {missing} ({target.remedy})")
        else:
            targets.append(target)
    stale = []
    with tempfile.TemporaryDirectory() as folder:
        made_root = Path(folder)
        make(targets, made_root)
        for target in targets:
            made, kept = files_under(made_root / target.output), files_under(ROOT / target.output)
            for path in differences(made, kept):
                state = "missing" if path not in kept else "no longer generated" if path not in made else "differs"
                stale.append(f"  {target.output}/{path}: {state}")
    if stale:
        raise GenerationError("\n".join(["out of date, run `make protos`:", *stale]))
    print(f"up to date: {', '.join(target.title for target in targets)}")
    return 0


def make(targets: list[Target], into: Path) -> None:
    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(target.make, into) for target in targets]:
            done.result()


def make_python(into: Path) -> None:
    generate("buf.gen.yaml", into)
    output = into / "generated" / "python"
    for stub in output.rglob("*_pb2_grpc.pyi"):
        if not stub.with_suffix(".py").exists():
            stub.unlink()  # the stub generator writes one even for a file without services
    for package in {stub.parent for stub in output.rglob("*.pyi")}:
        (package / "py.typed").touch()  # in each package: `flare` is a namespace that other distributions share


def make_go(into: Path) -> None:
    generate("clients/go/buf.gen.yaml", into)


def make_typescript(into: Path) -> None:
    generate("clients/ts/buf.gen.yaml", into)


def make_reference(into: Path) -> None:
    descriptors = into / "flare.binpb"
    run(["buf", "build", "--as-file-descriptor-set", "--output", str(descriptors)])
    run(["python", "-m", "tools.reference_pages", str(descriptors), str(into / "docs" / "reference")])


TARGETS = [
    Target("Python", "generated/python", make_python),
    Target(
        "Go",
        "clients/go/gen",
        make_go,
        programs=("protoc-gen-go", "protoc-gen-go-grpc"),
        remedy="apt-get install protoc-gen-go protoc-gen-go-grpc",
    ),
    Target(
        "TypeScript",
        "clients/ts/src/gen",
        make_typescript,
        programs=("protoc-gen-es",),
        remedy="run `npm ci` in clients/ts, with Node.js 20 or later",
    ),
    Target("Reference", "docs/reference", make_reference),
]


def prepare_venv() -> None:
    """Makes `.venv-protos` unless it holds what the requirements file asks for."""
    stamp = VENV / "installed.txt"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print("making .venv-protos, once", file=sys.stderr)
    try:
        venv.create(VENV, clear=True, with_pip=True)
    except subprocess.CalledProcessError as error:
        raise GenerationError("Python cannot make virtual environments: apt-get install python3-venv") from error
    (VENV / ".gitignore").write_text("*\n", encoding="utf-8")
    run(["python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)])
    stamp.write_text(wanted, encoding="utf-8")


def install_ts_plugin() -> None:
    if shutil.which("npm") is None:
        raise GenerationError("TypeScript needs npm: install Node.js 20 or later")
    run(["npm", "ci", "--no-audit", "--no-fund"], folder=TS_CLIENT)


def generate(template: str, into: Path) -> None:
    run(["buf", "generate", "--template", template, "--output", str(into)])


def search_path() -> str:
    """PATH with our own pinned programs before those of the machine."""
    own = [VENV / "bin", TS_CLIENT / "node_modules" / ".bin"]
    return os.pathsep.join([*map(str, own), os.environ.get("PATH", os.defpath)])


def missing_programs(target: Target) -> str:
    path = search_path()
    return " and ".join(program for program in target.programs if shutil.which(program, path=path) is None)


def run(command: list[str], folder: Path = ROOT) -> None:
    """Runs a program quietly. Raises GenerationError with all that it said if it fails."""
    environment = os.environ | {"PATH": search_path()}
    program = shutil.which(command[0], path=environment["PATH"]) or command[0]
    done = subprocess.run([program, *command[1:]], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        said = "\n".join(filter(None, [done.stdout.strip(), done.stderr.strip()]))
        raise GenerationError(f"`{' '.join(command[:3])}` failed:\n{said}")


def files_under(folder: Path) -> dict[str, bytes]:
    """Content by path, without what Python leaves behind when it imports."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(made: dict[str, bytes], kept: dict[str, bytes]) -> list[str]:
    return sorted(path for path in made.keys() | kept.keys() if made.get(path) != kept.get(path))


def drop_empty_folders(folder: Path) -> None:
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        leftovers = [child for child in path.iterdir() if child.name != "__pycache__"]
        if not leftovers:
            shutil.rmtree(path)


if __name__ == "__main__":
    sys.exit(main())
