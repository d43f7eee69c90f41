"""Engines between the contract and their values."""

from flare.ml.v1 import engine_pb2

from ml_server.engines.engine import EngineChoice, EngineMeasurement, EngineName

ENGINE = {
    None: engine_pb2.ENGINE_UNSPECIFIED,
    EngineName.ONNXRUNTIME: engine_pb2.ENGINE_ONNXRUNTIME,
    EngineName.TORCH: engine_pb2.ENGINE_TORCH,
}
ENGINE_OF = {number: engine for engine, number in ENGINE.items()}


def serving_engine_message(choice: EngineChoice) -> engine_pb2.ServingEngine:
    """How an engine was chosen."""
    return engine_pb2.ServingEngine(
        engine=ENGINE[choice.engine], measurements=map(_measurement_message, choice.measurements)
    )


def _measurement_message(measurement: EngineMeasurement) -> engine_pb2.EngineMeasurement:
    return engine_pb2.EngineMeasurement(
        engine=ENGINE[measurement.engine],
        single_row_microseconds=measurement.single_row_microseconds,
        batch_microseconds=measurement.batch_microseconds,
        largest_difference=measurement.largest_difference,
        refusal=measurement.refusal,
    )
