"""The plan of a training between the contract and its value."""

from flare.ml.v1 import training_job_pb2
from protovalidate import Validator

from ml_server.rpc.engine_converters import ENGINE, ENGINE_OF
from ml_server.training import plans
from ml_server.training.plans import TrainingPlan
from servicekit.errors import InvalidArgument, Reason
from servicekit.rpc.jobs import duration_message
from servicekit.rpc.validation import check_rules

SGD_LEARNING_RATE = 1e-2
LEARNING_RATE = 1e-3
CHECKPOINT_SECONDS = 60.0

_RULES = Validator()

PRECISION = {
    plans.Precision.FLOAT32: training_job_pb2.PRECISION_FLOAT32,
    plans.Precision.BFLOAT16: training_job_pb2.PRECISION_BFLOAT16,
    plans.Precision.FLOAT16: training_job_pb2.PRECISION_FLOAT16,
}
PRECISION_OF = {number: precision for precision, number in PRECISION.items()}


def training_plan(message: training_job_pb2.TrainingPlan) -> TrainingPlan:
    """The plan, with the contract's defaults filled in. Raises InvalidArgument (INVALID_FIELD)."""
    optimizer = _optimizer(message)
    default_rate = SGD_LEARNING_RATE if isinstance(optimizer, plans.Sgd) else LEARNING_RATE
    stopping = message.early_stopping
    return TrainingPlan(
        epochs=message.epochs or 50,
        batch_size=message.batch_size or 64,
        optimizer=optimizer,
        learning_rate=message.learning_rate or default_rate,
        schedule=_schedule(message),
        warmup_steps=message.warmup_steps,
        gradient_clip_norm=message.gradient_clip_norm,
        accumulation_steps=message.accumulation_steps or 1,
        regression_loss=_regression_loss(message),
        classification_loss=_classification_loss(message),
        class_weights=_class_weights(message.class_weights),
        early_stopping=plans.EarlyStopping(patience=stopping.patience or 10, min_delta=stopping.min_delta)
        if message.HasField("early_stopping")
        else None,
        max_steps=message.max_steps,
        max_seconds=message.max_duration.ToNanoseconds() / 1e9,
        seed=message.seed,
        device=message.device or "auto",
        precision=PRECISION_OF.get(message.precision, plans.Precision.FLOAT32),
        compile=message.compile,
        deterministic=message.deterministic,
        checkpoint_seconds=message.checkpoint_interval.ToNanoseconds() / 1e9 or CHECKPOINT_SECONDS,
        max_attempts=message.max_attempts or 3,
        engine=ENGINE_OF[message.engine],
        frozen_blocks=tuple(message.frozen_blocks),
        augmentation=_augmentation(message.augmentation),
        workers=message.workers or 1,
    )


def check_plan(plan: TrainingPlan) -> None:
    """Raises InvalidArgument (INVALID_FIELD) if the contract refuses a plan, or has no words for it."""
    message = plan_message(plan)
    check_rules(_RULES, message)
    if training_plan(message) != plan:
        raise InvalidArgument(Reason.INVALID_FIELD, "0 stands for the default there: take another value")


def _optimizer(message: training_job_pb2.TrainingPlan) -> plans.Optimizer:
    match message.WhichOneof("optimizer"):
        case "sgd":
            if message.sgd.nesterov and not message.sgd.momentum:
                raise InvalidArgument(
                    Reason.INVALID_FIELD,
                    "nesterov needs a momentum above 0: set momentum, such as 0.9, or leave nesterov out",
                    field="training_job.plan.sgd.momentum",
                )
            return plans.Sgd(
                momentum=message.sgd.momentum,
                nesterov=message.sgd.nesterov,
                weight_decay=message.sgd.weight_decay,
            )
        case "adamw":
            is_set = message.adamw.HasField("weight_decay")
            return plans.AdamW(weight_decay=message.adamw.weight_decay) if is_set else plans.AdamW()
        case "rmsprop":
            return plans.RmsProp(momentum=message.rmsprop.momentum, weight_decay=message.rmsprop.weight_decay)
        case "adagrad":
            return plans.Adagrad(weight_decay=message.adagrad.weight_decay)
        case _:
            return plans.Adam(weight_decay=message.adam.weight_decay)


def _schedule(message: training_job_pb2.TrainingPlan) -> plans.Schedule:
    match message.WhichOneof("schedule"):
        case "step":
            return plans.StepSchedule(epochs=message.step.epochs, factor=message.step.factor or 0.1)
        case "cosine":
            return plans.CosineSchedule(final_fraction=message.cosine.final_fraction)
        case "one_cycle":
            cycle = message.one_cycle
            return plans.OneCycleSchedule(
                rise_fraction=cycle.rise_fraction or 0.3,
                start_divisor=cycle.start_divisor or 25.0,
                end_divisor=cycle.end_divisor or 1e4,
            )
        case "reduce_on_plateau":
            plateau = message.reduce_on_plateau
            return plans.ReduceOnPlateauSchedule(
                patience=plateau.patience or 5,
                factor=plateau.factor or 0.1,
                min_delta=plateau.min_delta,
                min_learning_rate=plateau.min_learning_rate,
            )
        case _:
            return plans.ConstantSchedule()


def _regression_loss(message: training_job_pb2.TrainingPlan) -> plans.RegressionLoss:
    match message.WhichOneof("regression_loss"):
        case "mae":
            return plans.Mae()
        case "huber":
            return plans.Huber(delta=message.huber.delta or 1.0)
        case _:
            return plans.Mse()


def _classification_loss(message: training_job_pb2.TrainingPlan) -> plans.ClassificationLoss:
    match message.WhichOneof("classification_loss"):
        case "binary_cross_entropy":
            return plans.BinaryCrossEntropy()
        case "focal":
            return plans.Focal(gamma=message.focal.gamma) if message.focal.HasField("gamma") else plans.Focal()
        case _:
            return plans.CrossEntropy(label_smoothing=message.cross_entropy.label_smoothing)


def _class_weights(message: training_job_pb2.ClassWeights) -> plans.ClassWeights:
    weights = [
        plans.ClassWeight(target=each.target, class_label=each.class_label, weight=each.weight)
        for each in message.weights
    ]
    return plans.ClassWeights(balanced=message.balanced, weights=tuple(weights))


def _augmentation(message: training_job_pb2.ImageAugmentation) -> plans.ImageAugmentation:
    return plans.ImageAugmentation(**{name: getattr(message, name) for name in plans.ImageAugmentation.model_fields})


def plan_message(plan: TrainingPlan) -> training_job_pb2.TrainingPlan:
    """The plan with everything spelled out."""
    message = training_job_pb2.TrainingPlan(
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        warmup_steps=plan.warmup_steps,
        gradient_clip_norm=plan.gradient_clip_norm,
        accumulation_steps=plan.accumulation_steps,
        max_steps=plan.max_steps,
        max_duration=duration_message(plan.max_seconds) if plan.max_seconds else None,
        seed=plan.seed,
        device=plan.device,
        precision=PRECISION[plan.precision],
        compile=plan.compile,
        deterministic=plan.deterministic,
        engine=ENGINE[plan.engine],
        checkpoint_interval=duration_message(plan.checkpoint_seconds),
        max_attempts=plan.max_attempts,
        frozen_blocks=plan.frozen_blocks,
        workers=plan.workers,
    )
    for union in (plan.optimizer, plan.schedule, plan.regression_loss, plan.classification_loss):
        member = getattr(message, union.kind)
        member.SetInParent()
        for name in type(union).model_fields:
            if name != "kind":
                setattr(member, name, getattr(union, name))
    if plan.class_weights != plans.ClassWeights():
        message.class_weights.balanced = plan.class_weights.balanced
        for each in plan.class_weights.weights:
            message.class_weights.weights.add(**each.model_dump())
    if plan.augmentation != plans.ImageAugmentation():
        message.augmentation.CopyFrom(training_job_pb2.ImageAugmentation(**plan.augmentation.model_dump()))
    if plan.early_stopping is not None:
        message.early_stopping.patience = plan.early_stopping.patience
        message.early_stopping.min_delta = plan.early_stopping.min_delta
    return message
