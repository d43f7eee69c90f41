"""Fields of a plan by their paths."""

import pytest
from flare.ml.v1 import training_job_pb2
from google.protobuf.descriptor import Descriptor
from pydantic import ValidationError

from ml_server.sweeps.plan_fields import PlanField, chosen_members, plan_fields, with_values
from ml_server.training import plans
from ml_server.training.plans import TrainingPlan


@pytest.mark.parametrize("field", plan_fields().values(), ids=lambda field: field.path)
def test_every_path_is_that_of_a_field_of_the_contract(field: PlanField) -> None:
    descriptor: Descriptor | None = training_job_pb2.TrainingPlan.DESCRIPTOR
    names = field.path.split(".")
    if field.union:
        union = training_job_pb2.TrainingPlan.DESCRIPTOR.oneofs_by_name[names.pop(0)]
        if field.is_choice_of_member:
            assert set(field.names) == {member.name for member in union.fields}
            return
        assert field.member in {member.name for member in union.fields}
    for name in names[:-1]:
        assert descriptor is not None
        descriptor = descriptor.fields_by_name[name].message_type
    assert descriptor is not None
    assert names[-1] in descriptor.fields_by_name


def test_values_are_set_where_their_paths_say() -> None:
    plan = with_values(
        TrainingPlan(epochs=7),
        {"learning_rate": 0.5, "early_stopping.patience": 3, "class_weights.balanced": True, "precision": "bfloat16"},
    )
    assert plan == TrainingPlan(
        epochs=7,
        learning_rate=0.5,
        early_stopping=plans.EarlyStopping(patience=3),
        class_weights=plans.ClassWeights(balanced=True),
        precision=plans.Precision.BFLOAT16,
    )


def test_a_member_that_is_chosen_anew_begins_with_its_defaults_and_the_plans_own_keeps_its_values() -> None:
    plan = TrainingPlan(optimizer=plans.Sgd(momentum=0.5, weight_decay=0.1))
    assert with_values(plan, {"optimizer": "adamw"}).optimizer == plans.AdamW()
    kept = with_values(plan, {"optimizer": "sgd", "optimizer.sgd.momentum": 0.9})
    assert kept.optimizer == plans.Sgd(momentum=0.9, weight_decay=0.1)
    assert chosen_members(plan, {"schedule": "step"}) == {
        "optimizer": "sgd",
        "schedule": "step",
        "regression_loss": "mse",
        "classification_loss": "cross_entropy",
    }


@pytest.mark.parametrize("point", [{"batch_size": 0}, {"schedule": "step"}, {"optimizer.adam.weight_decay": -1.0}])
def test_values_that_make_no_plan_are_refused(point: dict[str, int | float | str | bool]) -> None:
    with pytest.raises(ValidationError):
        with_values(TrainingPlan(), point)
