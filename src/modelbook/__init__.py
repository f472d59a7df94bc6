"""Modelbook: from a table to a model in production, with every experiment on the record."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelbook.config import Config, load_config
    from modelbook.data.ingest import DataIngestor
    from modelbook.data.validate import DataValidator
    from modelbook.evaluation.evaluate import ModelEvaluator
    from modelbook.features.engineer import FeatureEngineer
    from modelbook.logs import PipelineLogger
    from modelbook.models.train import ModelTrainer
    from modelbook.pipeline.compare import compare_runs
    from modelbook.pipeline.export import runs_table
    from modelbook.registry.loading import load_model
    from modelbook.registry.registry import ModelRegistry
    from modelbook.tracking.runs import list_runs
    from modelbook.tracking.tracker import MLflowTracker

__version__ = "0.1.0"
__all__ = [
    "Config",
    "DataIngestor",
    "DataValidator",
    "FeatureEngineer",
    "MLflowTracker",
    "ModelEvaluator",
    "ModelRegistry",
    "ModelTrainer",
    "PipelineLogger",
    "compare_runs",
    "list_runs",
    "load_config",
    "load_model",
    "runs_table",
]

_HOMES = {
    "Config": "config",
    "DataIngestor": "data.ingest",
    "DataValidator": "data.validate",
    "FeatureEngineer": "features.engineer",
    "MLflowTracker": "tracking.tracker",
    "ModelEvaluator": "evaluation.evaluate",
    "ModelRegistry": "registry.registry",
    "ModelTrainer": "models.train",
    "PipelineLogger": "logs",
    "compare_runs": "pipeline.compare",
    "list_runs": "tracking.runs",
    "load_config": "config",
    "load_model": "registry.loading",
    "runs_table": "pipeline.export",
}


def __getattr__(name: str) -> Any:
    """Import a noun when it is first asked for: importing the package does nothing and is quick."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
