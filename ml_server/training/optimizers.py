"""PyTorch's optimizers, as a plan asks for them."""

from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

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
