"""Every benchmark still measures something: each runs at a size where its figure says nothing."""

import json

import pytest

from benchmarks.scraper import FIGURES, main

TINY = (
    "--runs=1",
    "--rows=2000",
    "--columns=33",
    "--peak-memory-bytes=100000",
    "--imports=2",
    "--import-rows=500",
    "--upload-bytes=100000",
    "--stream-rows=5000",
)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_one_line_of_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([name, *TINY])
    (line,) = capsys.readouterr().out.splitlines()
    figure = json.loads(line)
    assert set(figure) == {"figure", "value", "unit", "reference", "reference_value", "ratio"}
    assert figure["figure"] == name
    assert min(figure["value"], figure["reference_value"], figure["ratio"]) > 0


def test_a_figure_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "no figure 'speed'" in capsys.readouterr().err
