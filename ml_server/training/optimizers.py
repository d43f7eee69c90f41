"""PyTorch's optimizers and learning rates, as a plan asks for them."""

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR

from ml_server.training import plans
from ml_server.training.plans import TrainingPlan


def build_optimizer(plan: TrainingPlan, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The plan's optimizer. Fused where PyTorch has it: one pass over all weights a step instead of several."""
    rate, choice = plan.learning_rate, plan.optimizer
    match choice:
        case plans.Sgd():
            return SGD(
                parameters,
                lr=rate,
                momentum=choice.momentum,
                nesterov=choice.nesterov,
                weight_decay=choice.weight_decay,
                fused=True,
            )
        case plans.Adam():
            return Adam(parameters, lr=rate, weight_decay=choice.weight_decay, fused=True)
        case plans.AdamW():
            return AdamW(parameters, lr=rate, weight_decay=choice.weight_decay, fused=True)
        case plans.RmsProp():
            return RMSprop(parameters, lr=rate, momentum=choice.momentum, weight_decay=choice.weight_decay)
        case plans.Adagrad():
            return Adagrad(parameters, lr=rate, weight_decay=choice.weight_decay, fused=True)


def build_schedule(plan: TrainingPlan, optimizer: Optimizer, steps_per_epoch: int) -> LambdaLR:
    """The plan's learning rate, to be moved on after every step."""
    total_steps = plan.epochs * steps_per_epoch
    warmup = min(plan.warmup_steps, total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        match plan.schedule:
            case plans.ConstantSchedule():
                return 1.0
            case plans.StepSchedule(epochs=epochs, factor=fall):
                return float(fall ** (step // steps_per_epoch // epochs))
            case plans.CosineSchedule(final_fraction=final):
                share = (step - warmup) / max(1, total_steps - warmup)
                return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, share))) / 2

    return LambdaLR(optimizer, factor)
