"""What a fitted encoder makes of each text, as tables: the encoder itself is asked, text by text."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_UNKNOWN = "\0a text that no table has"


def known_texts(encoder: Any, position: int) -> set[str]:
    """Return the texts of a column that a fitted `CategoryEncoder` knows."""
    for kind, positions in encoder.positions_.items():
        if position in positions:
            known = encoder.encoders_[kind].categories_[positions.index(position)]
            return {text for text in known if isinstance(text, str)}
    return set()


def encoded_tables(encoder: Any, texts: Sequence[Sequence[str]]) -> Iterator[tuple[int, Floats]]:
    """Yield the table of each column, in the order in which the encoder puts their features.

    Args:
        encoder: A fitted `CategoryEncoder`.
        texts: The known texts of each column.

    Yields:
        The position of the column, and what is made of each text, of an unknown one and of a missing one,
        `(n_texts + 2, n_features)`.
    """
    for kind, positions in encoder.positions_.items():
        inner = encoder.encoders_[kind]
        names = inner.get_feature_names_out([str(at) for at in range(len(positions))])
        owners = np.array([int(name.partition("_")[0]) for name in names])
        for at, position in enumerate(positions):
            asked = [*texts[position], _UNKNOWN, None]
            rows = np.full((len(asked), len(positions)), None, dtype=object)
            rows[:, at] = asked
            yield position, np.asarray(inner.transform(rows)[:, owners == at], dtype=np.float64)
