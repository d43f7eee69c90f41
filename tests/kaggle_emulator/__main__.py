"""Runs the emulator by hand: `python -m tests.kaggle_emulator [--port N] [FILE ...]`.

Offers the data set `flare/iris`, the private one `flare/diary` and, for each file named, `flare/<its name>`.
Credentials: none, or account `flare` with key `emulated-key`, or the access token `emulated-token`.
"""

import argparse
import asyncio
import re
import sys
from pathlib import Path

from tests.kaggle_emulator.catalogue import Catalogue, EmulatedDataset, EmulatedFile
from tests.kaggle_emulator.server import KaggleEmulator

IRIS = b"""sepal_length,sepal_width,petal_length,petal_width,species
5.1,3.5,1.4,0.2,setosa
4.9,3.0,1.4,0.2,setosa
7.0,3.2,4.7,1.4,versicolor
6.4,3.2,4.5,1.5,versicolor
6.3,3.3,6.0,2.5,virginica
5.8,2.7,5.1,1.9,virginica
"""


def main() -> None:
    """Serves until interrupted."""
    parser = argparse.ArgumentParser(description="Serves Kaggle's HTTP API with a few data sets on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="of the API; 0 for any free one")
    parser.add_argument("files", nargs="*", type=Path, help="files to offer, each as a data set of its own")
    arguments = parser.parse_args()
    iris = EmulatedDataset("flare/iris", "Iris flowers", [EmulatedFile("iris.csv", IRIS)], tags=["biology"])
    diary = EmulatedDataset("flare/diary", "Diary", [EmulatedFile("diary.csv", IRIS)], private_to="flare")
    asyncio.run(_serve(Catalogue([iris, diary, *map(_dataset_of, arguments.files)]), arguments.port))


def _dataset_of(file: Path) -> EmulatedDataset:
    slug = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")
    return EmulatedDataset(f"flare/{slug}", file.stem, [EmulatedFile(file.name, file.read_bytes())])


async def _serve(catalogue: Catalogue, port: int) -> None:
    keys, tokens = {"flare": "emulated-key"}, {"emulated-token": "flare"}
    async with KaggleEmulator(catalogue, keys=keys, tokens=tokens, port=port) as emulator:
        sys.stdout.write(f"FLARE_SCRAPER_KAGGLE_ENDPOINT={emulator.endpoint}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
