"""A compiled model: raw rows to predictions with NumPy and machine code alone."""

from pathlib import Path

import numpy as np
from pydantic import ValidationError

from modelbook.serving.answers import Answer, Rows
from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.blocks import Blocks
from modelbook.serving.compiled.estimators import Place, open_estimator
from modelbook.serving.compiled.features import Features
from modelbook.serving.compiled.plan import ModelPlan
from modelbook.serving.golden import Golden
from modelbook.serving.manifest import ARRAYS, COMPILED, Kind, Manifest, refused


class CompiledRuntime:
    """Answers by the constants of a bundle; several threads may ask at once.

    Args:
        plan: What the model is made of.
        arrays: Where its arrays are.
        manifest: What the bundle says of itself.
        golden: Rows with what the model said of them.
        threads: How many work on many rows at once; they do not show in what is said.
    """

    kind: Kind = "compiled"

    def __init__(
        self,
        plan: ModelPlan,
        arrays: ArrayFolder,
        *,
        manifest: Manifest,
        golden: Golden | None = None,
        threads: int = 1,
    ) -> None:
        self.record = manifest.record
        self.columns = manifest.columns
        self.has_probabilities = manifest.has_probabilities
        self.golden = golden
        self._features = Features(plan.features, arrays)
        self._estimator = open_estimator(
            plan.estimator, Place(arrays, plan.features.features, Blocks(threads))
        )
        self._classes = np.array(manifest.record.classes)
        self._is_regression = plan.task == "regression"

    def predict(self, rows: Rows, *, with_probabilities: bool = False) -> Answer:
        """Return what the model says of rows.

        Raises:
            DataInvalidError: The model does not take such rows.
        """
        matrix = self._features.matrix(rows)
        if self._is_regression:
            return Answer(self._estimator.predict(matrix), None)
        chosen, probabilities = self._estimator.classify(matrix)
        return Answer(self._classes[chosen], probabilities if with_probabilities else None)


def open_compiled(
    folder: Path, manifest: Manifest, *, golden: Golden | None = None, threads: int = 1
) -> CompiledRuntime:
    """Return the compiled model of a bundle, whose files were checked before.

    Raises:
        ModelRefusedError: Another version of Modelbook wrote it.
    """
    try:
        plan = ModelPlan.model_validate_json((folder / COMPILED).read_bytes())
    except ValidationError:
        raise refused(folder, f"{COMPILED} cannot be read by this version of Modelbook") from None
    return CompiledRuntime(
        plan, ArrayFolder(folder / ARRAYS), manifest=manifest, golden=golden, threads=threads
    )
