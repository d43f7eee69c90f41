"""Plans between the contract and their values."""

import pytest
from flare.ml.v1 import training_job_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from ml_server.rpc.plan_converters import plan_message, training_plan
from ml_server.training import plans
from ml_server.training.plans import TrainingPlan

PLANS = [
    TrainingPlan(),
    TrainingPlan(
        epochs=3,
        batch_size=7,
        optimizer=plans.Sgd(momentum=0.9, nesterov=True, weight_decay=0.1),
        learning_rate=0.5,
        schedule=plans.OneCycleSchedule(rise_fraction=0.1, start_divisor=3.0, end_divisor=7.0),
        warmup_steps=2,
        gradient_clip_norm=1.5,
        accumulation_steps=4,
        regression_loss=plans.Huber(delta=0.2),
        classification_loss=plans.Focal(gamma=0.0),
        class_weights=plans.ClassWeights(balanced=True),
        early_stopping=plans.EarlyStopping(patience=4, min_delta=0.1),
        max_steps=99,
        max_seconds=12.5,
        seed=8,
        device="cuda:1",
        precision=plans.Precision.BFLOAT16,
        compile=True,
        deterministic=True,
        checkpoint_seconds=3.25,
        max_attempts=5,
        frozen_blocks=("layers.0", "input"),
        augmentation=plans.ImageAugmentation(
            horizontal_flip=0.5,
            vertical_flip=0.25,
            crop_padding=3,
            rotation_degrees=12.5,
            brightness=0.1,
            contrast=0.2,
            saturation=0.3,
        ),
        workers=3,
    ),
    TrainingPlan(
        optimizer=plans.AdamW(weight_decay=0.0),
        schedule=plans.ReduceOnPlateauSchedule(patience=2, factor=0.3, min_delta=0.1, min_learning_rate=0.01),
        regression_loss=plans.Mae(),
        classification_loss=plans.CrossEntropy(label_smoothing=0.1),
        class_weights=plans.ClassWeights(weights=(plans.ClassWeight(target="y", class_label="a", weight=2.0),)),
        precision=plans.Precision.FLOAT16,
    ),
    TrainingPlan(classification_loss=plans.BinaryCrossEntropy(), schedule=plans.CosineSchedule(final_fraction=0.5)),
]


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_comes_back_from_the_contract_as_it_went(plan: TrainingPlan) -> None:
    assert training_plan(plan_message(plan)) == plan


def test_what_the_contract_leaves_out_has_its_default() -> None:
    assert training_plan(pb.TrainingPlan()) == TrainingPlan()
    focal = training_plan(pb.TrainingPlan(focal=pb.FocalLoss()))
    assert focal.classification_loss == plans.Focal(gamma=2.0)
    assert training_plan(pb.TrainingPlan(max_duration=Duration(seconds=2))).max_seconds == 2.0
