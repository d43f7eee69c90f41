"""Trackers are extras: nobody needs their packages who does not ask for them."""

import subprocess
import sys
from pathlib import Path

import pytest

from ml_server.tracking.opening import open_trackers


def test_the_service_needs_no_package_of_a_tracker_that_nobody_asks_for() -> None:
    code = (
        "import sys; sys.modules['mlflow'] = None; sys.modules['tensorboard'] = None\n"
        "from ml_server.composition import MlService\n"
        "from ml_server.tracking.opening import open_trackers\n"
        "print(open_trackers(None, '', 'flare'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "package", "setting"),
    [
        ((Path("runs"), "", "flare"), "tensorboard", "FLARE_ML_TENSORBOARD_DIRECTORY"),
        ((None, "http://127.0.0.1:9", "flare"), "mlflow", "FLARE_ML_MLFLOW_TRACKING_URI"),
    ],
)
def test_a_tracker_whose_package_is_missing_is_refused_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[Path | None, str, str], package: str, setting: str
) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, f"ml_server.tracking.{package}_tracker", raising=False)
    monkeypatch.delitem(sys.modules, "ml_server.tracking.event_folder", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"{setting} is set, .* install flare\[{package}\]"):
        open_trackers(*arguments)
