"""A figure beside its reference, and the line of JSON that says both."""

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Figure:
    """A measured value beside a reference in the same unit. `ratio` above 1 is better than the reference."""

    figure: str
    value: float
    unit: str
    reference: str
    reference_value: float
    ratio: float

    @classmethod
    def of_rate(cls, figure: str, value: float, unit: str, reference: str, reference_value: float) -> Self:
        """Of what should be high, such as rows a second."""
        return cls(figure, value, unit, reference, reference_value, value / reference_value)

    @classmethod
    def of_cost(cls, figure: str, value: float, unit: str, reference: str, reference_value: float) -> Self:
        """Of what should be low, such as seconds or bytes."""
        return cls(figure, value, unit, reference, reference_value, reference_value / value)

    def line(self) -> str:
        """One JSON object; numbers have four significant digits, since the rest is noise."""
        values = asdict(self).items()
        return json.dumps({name: float(f"{each:.4g}") if isinstance(each, float) else each for name, each in values})
