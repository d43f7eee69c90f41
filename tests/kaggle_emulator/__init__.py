"""A stand-in for Kaggle's HTTP API and its storage: a real server on loopback with a catalogue that the test gives."""

from tests.kaggle_emulator.catalogue import Catalogue, EmulatedDataset, EmulatedFile
from tests.kaggle_emulator.faults import FOREVER, Fault, RequestKind
from tests.kaggle_emulator.samples import passengers_csv, small_catalogue, wines_csv
from tests.kaggle_emulator.server import KaggleEmulator, RecordedRequest

__all__ = [
    "FOREVER",
    "Catalogue",
    "EmulatedDataset",
    "EmulatedFile",
    "Fault",
    "KaggleEmulator",
    "RecordedRequest",
    "RequestKind",
    "passengers_csv",
    "small_catalogue",
    "wines_csv",
]
