"""The benchmarks of predictions run, at a tiny size; what they find on a loaded machine says nothing."""

import json

import pytest

from benchmarks import serving


@pytest.mark.bench
@pytest.mark.timeout(180)
@pytest.mark.parametrize("figure", [name for name in serving.FIGURES if "_vs_" not in name])
def test_each_figure_is_measured(figure: str, capsys: pytest.CaptureFixture[str]) -> None:
    serving.main([figure, "--runs", "1", "--calls", "200", "--models", "3"])
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["figure"] == figure
    assert found["value"] > 0
    assert found["reference_value"] > 0
