"""Every benchmark of trainings still measures something: each runs at a size where its figure says nothing."""

import json

import pytest

from benchmarks.training import FIGURES, main

TINY = (
    "--runs=1",
    "--training-rows=3000",
    "--image-rows=1200",
    "--training-epochs=2",
    "--one-row-rows=20",
    "--first-batch-rows=2000",
    "--streamed-bytes=2000000",
    "--watchers=5",
    "--submitted-rows=2000",
)


@pytest.mark.bench
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [name for name in FIGURES if "lightning" not in name])
def test_a_figure_is_one_line_of_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([name, *TINY])
    (line,) = capsys.readouterr().out.splitlines()
    figure = json.loads(line)
    assert figure["figure"] == name
    assert min(figure["value"], figure["reference_value"], figure["ratio"]) > 0
