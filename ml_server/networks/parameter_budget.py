"""Counts the parameters of a network that is not there yet, and stops at a limit."""

from dataclasses import dataclass

from torch import nn

from servicekit.errors import InvalidArgument, Reason


@dataclass
class ParameterBudget:
    """What was counted so far, and how much is allowed; None for any number."""

    limit: int | None = None
    spent: int = 0

    def spend(self, module: nn.Module, field: str, place: str) -> None:
        """Counts a module. Raises InvalidArgument (MODEL_TOO_LARGE) at `field` when it exceeds the limit."""
        self.spent += sum(parameter.numel() for parameter in module.parameters())
        state = sum(buffer.numel() for buffer in module.buffers())
        if self.limit is not None and self.spent + state > self.limit:
            raise InvalidArgument(
                Reason.MODEL_TOO_LARGE,
                f"with {place} the model has {self.spent + state:,} parameters but this server allows {self.limit:,}: "
                "make its layers narrower or fewer",
                field=field,
                limit=str(self.limit),
            )


def is_overflow(error: Exception) -> bool:
    """True if torch refuses a size because its bytes can't be counted in 64 bits."""
    text = str(error).lower()
    return "overflow" in text or "too large" in text
