"""The benchmarks of predictions run, at a tiny size; what they find on a loaded machine says nothing."""

import json

import pytest

from benchmarks import serving

# Beside these stand servers with environments of their own.
OTHER_SERVERS = ("_vs_mlserver", "_vs_torchserve")


@pytest.mark.bench
@pytest.mark.timeout(180)
@pytest.mark.parametrize("figure", [name for name in serving.FIGURES if not name.endswith(OTHER_SERVERS)])
def test_each_figure_is_measured(figure: str, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--runs", "1", "--calls", "200", "--models", "3", "--batch-rows", "2000", "--stream-pieces", "8"]
    serving.main([figure, *sizes])
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["figure"] == figure
    assert found["value"] > 0
    assert found["reference_value"] > 0
