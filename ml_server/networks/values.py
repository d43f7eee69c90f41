"""What all specification values share."""

from typing import Annotated

from annotated_types import Ge, Le, Lt
from pydantic import BaseModel, ConfigDict

AtLeastOne = Annotated[int, Ge(1)]
NotNegative = Annotated[int, Ge(0)]
Probability = Annotated[float, Ge(0), Lt(1)]
Fraction = Annotated[float, Ge(0), Le(1)]
PositiveOrZero = Annotated[float, Ge(0)]


class Value(BaseModel):
    """An immutable value that writes itself as JSON and reads itself back; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
