"""The numbers behind what the gate said last of a model."""

from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from modelbook.config import Config
from modelbook.records import EvaluationReport
from modelbook.tracking.held import read_run
from modelbook.tracking.journal import EVALUATION_FILE, last_judgements


def find_judgement(
    config: Config, digest: str | None, run_ids: Iterable[str | None], *, verdict: str | None
) -> EvaluationReport | None:
    """Return a judgement on a model that came to a verdict; one that did not where there is no such.

    Args:
        config: The project.
        digest: The model.
        run_ids: The runs of the store to ask beside the journal, the likeliest first.
        verdict: What it is to have come to.

    Raises:
        TrackingStoreError: The store cannot be used.
    """
    other = None
    for found in _judgements(config, digest, run_ids):
        if found.gate.verdict == verdict:
            return found
        other = other or found
    return other


def _judgements(
    config: Config, digest: str | None, run_ids: Iterable[str | None]
) -> Iterator[EvaluationReport]:
    if kept := last_judgements(config).get(digest or ""):
        yield kept
    for run_id in dict.fromkeys(filter(None, run_ids)) if config.training.enable_mlflow else ():
        held = read_run(config, run_id, names={EVALUATION_FILE})
        try:
            if held:
                yield EvaluationReport.model_validate_json(held.files[EVALUATION_FILE])
        except (KeyError, ValidationError):
            continue
