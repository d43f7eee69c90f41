"""What the `kaggle` package does besides its calls must not reach Flare: tried in a process of its own."""

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.kaggle_emulator import KaggleEmulator, small_catalogue

SEARCH = """
import asyncio, json, os, socket, sys

from scraper_server.sources.kaggle.accounts import OperatorAccount
from scraper_server.sources.kaggle.kaggle_source import KaggleSource
from scraper_server.sources.kaggle.options import KaggleOptions
from scraper_server.sources.search import Search

early = sorted(name for name in sys.modules if name.split(".")[0] in ("kaggle", "kagglesdk"))
environment, connect, resolve, reached = dict(os.environ), socket.socket.connect, socket.getaddrinfo, []

def recorded(self, address):
    reached.append(list(address[:2]))
    return connect(self, address)

def resolved(host, *arguments, **more):
    reached.append([host, arguments[0]])
    return resolve(host, *arguments, **more)

socket.socket.connect = recorded
socket.getaddrinfo = resolved

async def main():
    source = KaggleSource(KaggleOptions(endpoint=sys.argv[1]), OperatorAccount())
    page = await source.search("accounts/ann", Search("titanic"), 5, "")
    await source.drain()
    return [dataset.ref for dataset in page.datasets]

refs = asyncio.run(main())
print(json.dumps({
    "early": early, "refs": refs, "reached": reached, "environment_kept": environment == dict(os.environ),
    "loaded": "kaggle" in sys.modules,
}))
"""


def names_below(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*"))


async def test_the_package_prints_sends_and_writes_nothing_on_its_own(tmp_path: Path) -> None:
    folder = tmp_path / ".kaggle"
    folder.mkdir(mode=0o700)
    (folder / "kaggle.json").write_text('{"username": "somebody", "key": "key-of-somebody"}')
    (folder / "access_token").write_text("token-of-somebody")
    environment = os.environ | {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "KAGGLE_API_TOKEN": "token-in-environment",
        "KAGGLE_USERNAME": "somebody",
        "KAGGLE_KEY": "key-in-environment",
        "VERBOSE": "1",
    }
    async with KaggleEmulator(small_catalogue()) as kaggle:
        kaggle.api_version = "99.0.0"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SEARCH, kaggle.endpoint),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        port = int(kaggle.endpoint.rsplit(":", 1)[1])
    assert errors.decode() == ""
    assert json.loads(output) == {  # nothing else was printed
        "early": [],
        "refs": ["yasserh/titanic-dataset"],
        "reached": [["127.0.0.1", port]] * 2,  # looked up, and connected to
        "environment_kept": True,
        "loaded": True,
    }
    assert [request.headers.get("Authorization") for request in kaggle.requests] == [None]
    assert names_below(tmp_path) == [".kaggle", "access_token", "kaggle.json"]


async def test_a_home_that_nobody_may_write_is_no_hindrance(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": "/proc/nowhere"}
    environment.pop("XDG_CONFIG_HOME", None)
    async with KaggleEmulator(small_catalogue()) as kaggle:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SEARCH, kaggle.endpoint), env=environment, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    assert json.loads(output)["refs"] == ["yasserh/titanic-dataset"]
