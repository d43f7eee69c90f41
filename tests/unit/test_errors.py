"""Errors: the domain names them, one table gives them a status, and the contract lists their reasons."""

import pickle

import grpc
import pytest
from flare.common.v1 import error_reason_pb2
from google.rpc import error_details_pb2

from servicekit.errors import STATUSES, AlreadyExists, FlareError, InvalidArgument, Reason, ResourceExhausted, Violation
from servicekit.rpc.status import STATUS_OF, status_message


def test_reasons_are_those_of_the_contract() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert {reason.value for reason in Reason} == names - {"UNSPECIFIED"}


def test_every_kind_of_error_has_a_status_of_its_own() -> None:
    assert set(STATUS_OF) == set(FlareError.__subclasses__())
    assert len(set(STATUS_OF.values())) == len(STATUS_OF)
    assert grpc.StatusCode.UNKNOWN not in STATUS_OF.values()


@pytest.mark.parametrize("status", STATUSES.values())
def test_an_error_survives_storage_and_another_process(status: type[FlareError]) -> None:
    error = status(Reason.INTERNAL, "text", field="a.b", retry_after_seconds=1.5, resource="models/x", column="age")
    for copy in (FlareError.from_json(error.to_json()), pickle.loads(pickle.dumps(error))):
        assert type(copy) is status
        assert copy.to_json() == error.to_json()
        assert str(copy) == "text"


def test_a_status_carries_what_programs_need() -> None:
    error = ResourceExhausted(
        Reason.LIMIT_EXCEEDED, "too much", field="plan.epochs", retry_after_seconds=2.5, resource="models/x", limit="3"
    )
    status = status_message(error)
    assert (status.code, status.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "too much")
    info, request, retry, resource = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.ResourceInfo(),
    )
    for packed, detail in zip(status.details, (info, request, retry, resource), strict=True):
        assert packed.Unpack(detail)
    assert (info.reason, info.domain, dict(info.metadata)) == ("LIMIT_EXCEEDED", "flare", {"limit": "3"})
    assert request.field_violations[0].field == "plan.epochs"
    assert retry.retry_delay.ToTimedelta().total_seconds() == 2.5
    assert (resource.resource_type, resource.resource_name) == ("models", "models/x")


def test_moving_an_error_puts_the_prefix_before_each_field() -> None:
    error = InvalidArgument(Reason.SHAPE_MISMATCH, "no", violations=[Violation("mlp.dropout", "no")])
    assert [violation.field for violation in error.at("model.specification.").violations] == [
        "model.specification.mlp.dropout"
    ]
    assert AlreadyExists(Reason.NAME_TAKEN, "taken").at("x.").violations == ()
