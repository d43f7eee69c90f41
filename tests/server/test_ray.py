"""Trainings on a Ray cluster. Ray listens on every address, so all of it runs where there is only `lo`."""

import sys
from pathlib import Path

import pytest

from tests.namespaces import run_isolated

CASES = Path(__file__).parent / "ray_cases.py"


@pytest.mark.fault
@pytest.mark.timeout(450)
def test_trainings_on_a_ray_cluster() -> None:
    done = run_isolated(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES), seconds=440)
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
