"""Comparisons between the contract and their values."""

from flare.ml.v1 import evaluation_pb2, evaluation_service_pb2

from ml_server.evaluation.values import (
    Comparison,
    ComparisonRequest,
    Estimate,
    MetricComparison,
    TargetComparison,
)
from ml_server.registry.values import ModelVersion
from ml_server.rpc.model_converters import TASK_OF

CONFIDENCE = 0.95
RESAMPLES = 2_000
FEWEST_RESAMPLES = 100


def comparison_request(request: evaluation_service_pb2.CompareModelsRequest) -> ComparisonRequest:
    """What CompareModels asks for, with the contract's defaults filled in."""
    return ComparisonRequest(
        versions=tuple(request.versions),
        view=request.view,
        confidence=request.confidence or CONFIDENCE,
        resamples=max(FEWEST_RESAMPLES, request.resamples or RESAMPLES),
        seed=request.seed,
    )


def comparison_message(comparison: Comparison) -> evaluation_pb2.ModelComparison:
    """What was found."""
    return evaluation_pb2.ModelComparison(
        view=comparison.view,
        view_digest=comparison.view_digest,
        row_count=comparison.row_count,
        versions=[_version_message(version, comparison.view_digest) for version in comparison.versions],
        targets=map(_target_message, comparison.targets),
        confidence=comparison.confidence,
        resamples=comparison.resamples,
        seed=comparison.seed,
    )


def _version_message(version: ModelVersion, view_digest: str) -> evaluation_pb2.ComparedVersion:
    return evaluation_pb2.ComparedVersion(
        name=version.name,
        digest=version.details.digest,
        view=version.details.view,
        trained_on_view=version.details.view_digest == view_digest,
    )


def _target_message(target: TargetComparison) -> evaluation_pb2.TargetComparison:
    return evaluation_pb2.TargetComparison(
        target=target.target,
        task=TASK_OF[target.task],
        unseen_row_count=target.unseen_row_count,
        metrics=map(_metric_message, target.metrics),
        mcnemar_tests=[evaluation_pb2.McNemarTest(**vars(test)) for test in target.mcnemar_tests],
        signed_rank_tests=[evaluation_pb2.SignedRankTest(**vars(test)) for test in target.signed_rank_tests],
    )


def _metric_message(metric: MetricComparison) -> evaluation_pb2.MetricComparison:
    return evaluation_pb2.MetricComparison(
        name=metric.name,
        higher_is_better=metric.higher_is_better,
        estimates=map(_estimate_message, metric.estimates),
        differences=[
            evaluation_pb2.PairedDifference(
                version=each.version, difference=_estimate_message(each.difference), p_value=each.p_value
            )
            for each in metric.differences
        ],
    )


def _estimate_message(estimate: Estimate) -> evaluation_pb2.Estimate:
    return evaluation_pb2.Estimate(value=estimate.value, lower=estimate.lower, upper=estimate.upper)
