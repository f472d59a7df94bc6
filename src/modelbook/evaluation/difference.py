"""How far two models are from each other in a metric, and how sure that is."""

from modelbook.evaluation.gate import LOWER_IS_BETTER
from modelbook.records import Record

RESAMPLES = 10_000
LEVEL = 0.95


class Difference(Record):
    """What a metric of one model is above that of another, on the same rows.

    Attributes:
        metric: The metric.
        first: Its value for the first model.
        second: Its value for the second model.
        difference: The second value less the first.
        lower: The lower end of the interval for the difference; None where no resample has the metric.
        upper: The upper end.
        level: The share of such intervals that hold the true difference, in (0, 1).
        resamples: How often the rows were drawn.
    """

    metric: str
    first: float
    second: float
    difference: float
    lower: float | None
    upper: float | None
    level: float = LEVEL
    resamples: int = RESAMPLES

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.lower is not None and self.upper is not None and (self.lower > 0 or self.upper < 0)

    @property
    def judgement(self) -> str:
        """What the interval says of the second model: `better`, `worse`, `the same` or `not sure`."""
        if self.lower == self.upper == 0:
            return "the same"
        if not self.is_sure:
            return "not sure"
        return "better" if (self.difference < 0) == (self.metric in LOWER_IS_BETTER) else "worse"
