"""Measures predictions: prints a JSON object a line, a figure each. `--help` names them."""

from benchmarks.call_overhead import call_overhead
from benchmarks.command import Figures, measure
from benchmarks.monitoring_speed import watched_row
from benchmarks.serving_isolation import flood_p99, load_delay
from benchmarks.serving_speed import (
    cnn32_vs_mlserver,
    cnn32_vs_torchserve,
    infer_2p_c32_vs_torchserve,
    infer_2p_c64_vs_torchserve,
    infer_c1,
    infer_c32,
    infer_c32_p99,
    infer_c32_vs_mlserver,
    infer_c32_vs_torchserve,
    infer_c64,
    many_models,
)
from benchmarks.serving_tables import (
    batch_predict_vs_engine,
    predict_stream_rows,
    preprocessing_1,
    preprocessing_256,
)

FIGURES: Figures = {
    "infer_c1": infer_c1,
    "infer_c32": infer_c32,
    "infer_c64": infer_c64,
    "infer_c32_p99": infer_c32_p99,
    "call_overhead": call_overhead,
    "many_models": many_models,
    "load_delay": load_delay,
    "flood_p99": flood_p99,
    "watched_row": watched_row,
    "infer_c32_vs_mlserver": infer_c32_vs_mlserver,
    "infer_c32_vs_torchserve": infer_c32_vs_torchserve,
    "infer_2p_c32_vs_torchserve": infer_2p_c32_vs_torchserve,
    "infer_2p_c64_vs_torchserve": infer_2p_c64_vs_torchserve,
    "cnn32_vs_mlserver": cnn32_vs_mlserver,
    "cnn32_vs_torchserve": cnn32_vs_torchserve,
    "batch_predict_vs_engine": batch_predict_vs_engine,
    "predict_stream_rows": predict_stream_rows,
    "preprocessing_1": preprocessing_1,
    "preprocessing_256": preprocessing_256,
}


def main(arguments: list[str] | None = None) -> None:
    """Measures the figures named, or all."""
    measure("benchmarks.serving", __doc__, FIGURES, arguments)


if __name__ == "__main__":
    main()
