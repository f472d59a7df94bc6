"""A fitted pipeline turned into a plan and arrays."""

from typing import Any

from treelite import TreeliteError

from modelbook.records import ModelRecord
from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.plan import ModelPlan
from modelbook.serving.compiling.estimators import compile_estimator
from modelbook.serving.compiling.features import compile_features
from modelbook.serving.compiling.refusal import NotCompilableError


def compile_model(pipeline: Any, record: ModelRecord, arrays: ArrayFolder) -> ModelPlan:
    """Return what a fitted pipeline is made of.

    Args:
        pipeline: Features and an estimator, as `models/fit.py` puts them together.
        record: What is recorded of it.
        arrays: Gets the arrays.

    Raises:
        NotCompilableError: A part of it is not known here.
    """
    names = [name for name, _ in getattr(pipeline, "steps", ())]
    if names != ["features", "estimator"]:
        raise NotCompilableError("it was not put together by Modelbook")
    try:
        return ModelPlan(
            task=record.task,
            features=compile_features(pipeline["features"], record, arrays),
            estimator=compile_estimator(pipeline["estimator"], record.task, arrays),
        )
    except (AttributeError, LookupError, TypeError, ValueError, TreeliteError) as error:
        # Models of other versions of Modelbook or of a library may be built otherwise than those known here.
        raise NotCompilableError(f"it is built otherwise than expected ({type(error).__name__})") from error
