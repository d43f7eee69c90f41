"""How large the things are that benchmarks measure. Each field is an option of the command."""

from dataclasses import dataclass

GIGABYTE = 10**9


@dataclass(frozen=True)
class Sizes:
    """The sizes that published figures have; a test of the benchmarks themselves takes smaller ones."""

    runs: int = 5
    """how often each side is measured, in turns; the figure is the median"""
    rows: int = 1_000_000
    """rows of the table of csv_to_parquet_with_statistics"""
    columns: int = 33
    """columns of every made table"""
    peak_memory_bytes: int = 5 * GIGABYTE
    """size of the file of import_peak_memory"""
    imports: int = 10
    """imports at once of get_dataset_p50_under_imports"""
    import_rows: int = 200_000
    """rows of each of them"""
    upload_bytes: int = GIGABYTE
    """size of the file of upload"""
    stream_rows: int = 1_000_000
    """rows of the view of stream_view"""
    training_rows: int = 200_000
    """rows of the table that perceptrons train on; a tenth validates, a tenth tests"""
    image_rows: int = 10_000
    """rows of the table of 3x16x16 images that the CNN trains on"""
    training_epochs: int = 6
    """epochs of each run of a training; the first one warms up and doesn't count"""
    training_threads: int = 1
    """processor threads of each side"""
    one_row_rows: int = 2_000
    """rows that the one-row-at-a-time loop is measured with"""
    first_batch_rows: int = 1_000_000
    """rows of the view of first_batch_cold and first_batch_cached"""
    submitted_rows: int = 20_000
    """rows of the table of submit_to_first_step"""
    streamed_bytes: int = 5 * GIGABYTE
    """size of the view of streamed_training_memory, and at most that of streamed_training"""
    watchers: int = 1_000
    """watchers of watchers_overhead"""
    calls: int = 8_000
    """calls of each run of infer_c1 and the others of its kind"""
    image_calls: int = 300
    """calls of each run of cnn32_vs_mlserver and cnn32_vs_torchserve, with 32 images each"""
    models: int = 100
    """models of many_models"""
    batch_rows: int = 300_000
    """rows of the view of batch_predict_vs_engine"""
    stream_pieces: int = 1_000
    """requests of each run of predict_stream_rows, with 1,024 rows each"""
