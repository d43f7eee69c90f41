"""What is monitored, as the contract says it."""

from flare.ml.v1 import monitoring_pb2 as pb

from ml_server.monitoring.shadow import ShadowRecord, TargetSums
from servicekit.rpc.jobs import timestamp_message


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


def _agreement_message(target: str, sums: TargetSums) -> pb.TargetAgreement:
    rows = max(sums.rows, 1)
    return pb.TargetAgreement(
        target=target,
        row_count=sums.rows,
        label_agreement=None if sums.agreeing is None else sums.agreeing / rows,
        mean_absolute_difference=sums.difference / rows,
    )
