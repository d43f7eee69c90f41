"""Explanations between the contract and their values."""

from flare.ml.v1 import prediction_service_pb2 as pb

from ml_server.explanation.values import Explanation, ExplanationRequest, Method
from servicekit.rpc.packed import add_doubles

STEPS = 50
METHOD_OF = {
    pb.EXPLANATION_METHOD_INTEGRATED_GRADIENTS: Method.INTEGRATED_GRADIENTS,
    pb.EXPLANATION_METHOD_PERMUTATION: Method.PERMUTATION,
}
MESSAGE_OF = {method: value for value, method in METHOD_OF.items()}


def explanation_request(request: pb.ExplainRequest) -> ExplanationRequest:
    """What Explain asks for, with the contract's defaults filled in."""
    return ExplanationRequest(
        target=request.target,
        class_label=request.class_label,
        method=METHOD_OF.get(request.method),
        steps=request.steps or STEPS,
        seed=request.seed,
    )


def explanation_message(explanation: Explanation) -> pb.ExplainResponse:
    """What was found."""
    contributions = explanation.contributions
    message = pb.ExplainResponse(
        version=explanation.version.name,
        digest=explanation.version.details.digest,
        row_count=len(contributions.values),
        target=explanation.target,
        class_labels=explanation.class_labels,
        method=MESSAGE_OF[explanation.method],
        columns=explanation.columns,
    )
    add_doubles(message, "contributions", contributions.values)
    add_doubles(message, "outputs", contributions.outputs)
    add_doubles(message, "baseline_outputs", contributions.baseline_outputs)
    return message
