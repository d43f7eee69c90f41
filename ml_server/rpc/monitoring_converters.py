"""What is monitored, as the contract says it."""

from flare.ml.v1 import monitoring_pb2 as pb

from ml_server.monitoring.drift import BinShare, ColumnDrift, DriftBand, VersionDrift
from ml_server.monitoring.measures import Quantity
from ml_server.monitoring.shadow import ShadowRecord, TargetSums
from ml_server.registry.values import ModelVersion
from servicekit.rpc.jobs import timestamp_message

QUANTITY_OF = {
    Quantity.VALUE: pb.DRIFT_QUANTITY_VALUE,
    Quantity.CATEGORY: pb.DRIFT_QUANTITY_CATEGORY,
    Quantity.BRIGHTNESS: pb.DRIFT_QUANTITY_BRIGHTNESS,
    Quantity.LABEL: pb.DRIFT_QUANTITY_LABEL,
    Quantity.CONFIDENCE: pb.DRIFT_QUANTITY_CONFIDENCE,
}
BAND_OF = {
    DriftBand.STABLE: pb.DRIFT_BAND_STABLE,
    DriftBand.MODERATE: pb.DRIFT_BAND_MODERATE,
    DriftBand.LARGE: pb.DRIFT_BAND_LARGE,
}


def shadow_message(record: ShadowRecord) -> pb.AliasShadow:
    """What came of asking an alias's shadow."""
    model, requests = f"models/{record.model}", max(record.requests, 1)
    return pb.AliasShadow(
        name=f"{model}@{record.alias}",
        shadow_version=f"{model}/versions/{record.shadow}" if record.shadow else "",
        since_time=timestamp_message(record.since),
        request_count=record.requests,
        row_count=record.rows,
        failure_count=record.failures,
        last_failure=record.last_failure,
        waiting_request_count=record.waiting,
        dropped_request_count=record.dropped,
        mean_milliseconds=record.nanoseconds / requests / 1e6,
        shadow_mean_milliseconds=record.shadow_nanoseconds / requests / 1e6,
        targets=[_agreement_message(target, sums) for target, sums in record.targets.items()],
    )


def drift_message(version: ModelVersion, drift: VersionDrift) -> pb.VersionDrift:
    """How far a version's rows have drifted."""
    reference = drift.reference
    return pb.VersionDrift(
        version=version.name,
        since_time=timestamp_message(drift.since),
        row_count=drift.rows,
        dropped_row_count=drift.dropped,
        reference_row_count=reference.rows if reference else 0,
        reference_prediction_count=reference.predicted_rows if reference else 0,
        problem=drift.problem,
        inputs=map(_column_message, drift.inputs),
        outputs=map(_column_message, drift.outputs),
    )


def _column_message(column: ColumnDrift) -> pb.ColumnDrift:
    return pb.ColumnDrift(
        column=column.column,
        quantity=QUANTITY_OF[column.quantity],
        stability_index=column.index,
        chance_index=column.chance_index,
        band=BAND_OF[column.band],
        bins=map(_bin_message, column.bins),
    )


def _bin_message(share: BinShare) -> pb.DriftBin:
    message = pb.DriftBin(reference_share=share.reference, share=share.observed)
    if share.category is not None:
        message.category = share.category
    elif share.is_unknown:
        message.unknown = True
    elif share.lower is None and share.upper is None:
        message.others = True
    else:
        message.range.CopyFrom(pb.DriftRange(lower=share.lower, upper=share.upper))
    return message


def _agreement_message(target: str, sums: TargetSums) -> pb.TargetAgreement:
    rows = max(sums.rows, 1)
    return pb.TargetAgreement(
        target=target,
        row_count=sums.rows,
        label_agreement=None if sums.agreeing is None else sums.agreeing / rows,
        mean_absolute_difference=sums.difference / rows,
    )
