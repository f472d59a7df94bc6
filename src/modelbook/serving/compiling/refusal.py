"""What keeps a model from being compiled: no mistake, it is served with its own code then."""

from typing import Any


class NotCompilableError(Exception):
    """A part of a model is not known here; the message says which, as the end of a sentence."""


def class_of(part: Any) -> str:
    """Return what a part of a model is, by the file that it travels in or by its library.

    Code that travels is imported under a name made of its content: `modelbook_matrix_1a2b3c4d5e6f`.

    Returns:
        As in `matrix.FeatureMatrix` or `sklearn.RandomForestRegressor`; of others the whole name.
    """
    module, name = type(part).__module__, type(part).__name__
    if module.startswith("modelbook_"):
        return f"{module.removeprefix('modelbook_').rpartition('_')[0]}.{name}"
    return f"sklearn.{name}" if module.startswith("sklearn.") else f"{module}.{name}"
