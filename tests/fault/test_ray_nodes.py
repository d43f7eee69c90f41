"""Nodes of a Ray cluster are lost in the middle of a training."""

import sys
from pathlib import Path

import pytest

from tests.namespaces import run_isolated

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]


def test_trainings_outlive_the_nodes_that_they_run_on() -> None:
    cases = Path(__file__).parent / "ray_node_cases.py"
    done = run_isolated(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases), seconds=890)
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
