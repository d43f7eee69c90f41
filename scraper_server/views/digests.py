"""What tells views apart: equal digests stream equal rows."""

import hashlib
import json
from dataclasses import asdict

from scraper_server.views.resolution import fractions_of
from scraper_server.views.spec import PARTS, ViewColumn, ViewSpec


def view_digest(dataset_digest: str, columns: tuple[ViewColumn, ...], spec: ViewSpec) -> str:
    """sha256 over the data set's digest and everything that decides which rows and values the view has."""
    split = spec.split
    described = {
        "version": "flare-view-1",
        "dataset": dataset_digest,
        "columns": [asdict(column) for column in columns],
        "method": split.method.value,
        "fractions": fractions_of(spec),
        "seed": split.seed,
        "column": split.column,
        "values": [given or (part.value,) for given, part in zip(split.values, PARTS, strict=True)],
    }
    text = json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
