"""A program as it is written, step by step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from modelbook.serving.compiled.program import Step

Floats = npt.NDArray[np.float64]


@dataclass
class Program:
    """The steps so far, and where the columns of the table are.

    Attributes:
        places: Where each column is, in the table's order.
        texts: The known texts of each text column.
        raw: How many places hold what was read of raw columns.
        room: How many places are taken.
        steps: The steps.
        constants: What they know.
    """

    places: dict[str, int] = field(default_factory=dict)
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    raw: int = 0
    room: int = 0
    steps: list[tuple[int, ...]] = field(default_factory=list)
    constants: list[float] = field(default_factory=list)

    def take(self, count: int = 1) -> int:
        """Return the first of some places that were free."""
        first, self.room = self.room, self.room + count
        return first

    def add(
        self,
        step: Step,
        x: int,
        *,
        out: int | None = None,
        y: int = 0,
        know: Iterable[float] = (),
        width: int = 1,
    ) -> int:
        """Add a step that knows some constants, and return the place that it writes."""
        written = self.take() if out is None else out
        self.steps.append((int(step), written, x, y, len(self.constants), width))
        self.constants.extend(know)
        return written

    def look_up(self, name: str, table: Floats, *, out: int | None = None) -> int:
        """Add the step that writes what a table has for the text of a column, `(n_texts + 2, n_features)`."""
        width = table.shape[1]
        written = self.take(width) if out is None else out
        return self.add(Step.LOOKUP, self.places[name], out=written, know=table.ravel().tolist(), width=width)

    def rename(self, made: dict[str, int], *, gone: Sequence[str] = ()) -> None:
        """Take columns out of the table, and put others in their place or behind."""
        kept = {name: place for name, place in self.places.items() if name not in gone}
        self.places = kept | made
