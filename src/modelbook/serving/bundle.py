"""A registered model turned into what a server opens: a folder of data that is whole or not there.

A model of parts that are known here is compiled: what it learned becomes constants, and no code of it runs in
the server. It is used only where its predictions are the recorded ones and, on rows drawn at random, those of
the model itself; else the bundle holds the model's own package.
"""

import secrets
import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from modelbook.errors import DataInvalidError, ModelbookError, ModelRefusedError, UsageError
from modelbook.files import link_or_copy, remove_folder, storage_errors, write_whole
from modelbook.logs import PipelineLogger
from modelbook.models.integrity import CODE_FOLDER
from modelbook.records import ModelRecord
from modelbook.registry.loading import FoundModel
from modelbook.serving.answers import Answer, Rows, count_differing
from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.model import CompiledRuntime, open_compiled
from modelbook.serving.compiling.features import typical_numbers
from modelbook.serving.compiling.model import compile_model
from modelbook.serving.compiling.refusal import NotCompilableError
from modelbook.serving.golden import keep_golden
from modelbook.serving.manifest import ARRAYS, COMPILED, GOLDEN, MODEL_FOLDER, Manifest, seal
from modelbook.serving.reference import ReferenceRuntime
from modelbook.serving.told import told_column
from modelbook.serving.trial_rows import drawn_rows, recorded_answer, rows_of

_DRAWN = 400


class _Trial(NamedTuple):
    """Rows, and what a model has to say of them."""

    rows: Rows
    expected: Answer
    source: str


def write_bundle(
    found: FoundModel,
    package: Path,
    folder: Path,
    *,
    golden: pd.DataFrame | None = None,
    log: PipelineLogger | None = None,
) -> Manifest:
    """Make the bundle of a model, whole or not at all, and return what it says of itself.

    Args:
        found: The model, loaded from its verified package.
        package: The folder of that package: the model's file and `code/`.
        folder: The bundle; what lies there is replaced.
        golden: Rows that came with the model: its input columns, `predicted` and `probability_<class>` as
            they were recorded. Without them rows drawn at random are kept, with what the model says of them.
        log: Told why a model is not compiled.

    Raises:
        UsageError: The model has no record.
        NotFoundError: A file of the package is missing.
        StorageError: The folder cannot be written or the disk is full.
    """
    making = folder.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with storage_errors(folder):
            making.mkdir(parents=True)
            manifest = _fill(making, found, package=package, golden=golden)
            manifest = seal(making, manifest)
            remove_folder(folder)
            making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    if manifest.why:
        (log or PipelineLogger("serve")).warning(f"the model is served with its own code: {manifest.why}")
    return manifest


def _fill(folder: Path, found: FoundModel, *, package: Path, golden: pd.DataFrame | None) -> Manifest:
    manifest = _first_manifest(found, golden)
    reference = ReferenceRuntime(found.pipeline, manifest)
    trials = _trials(found, reference, golden)
    try:
        _compile(folder, found, manifest, trials=trials)
    except NotCompilableError as refusal:
        shutil.rmtree(folder / ARRAYS, ignore_errors=True)
        (folder / COMPILED).unlink(missing_ok=True)
        _copy_package(package, folder / MODEL_FOLDER, manifest.record)
        manifest = manifest.model_copy(update={"kind": "reference", "why": str(refusal)})
    if trials:
        kept = keep_golden(trials[0].rows, trials[0].expected, manifest.record)
        write_whole(folder / GOLDEN, kept.to_bytes())
    return manifest


def _first_manifest(found: FoundModel, golden: pd.DataFrame | None) -> Manifest:
    if found.record is None:
        raise UsageError("the model has no record of what it takes", hint="register it first")
    return Manifest(
        name=found.name,
        version=found.version,
        record=found.record,
        kind="compiled",
        why=None,
        has_probabilities=hasattr(found.pipeline, "predict_proba"),
        columns=tuple(told_column(column, found.pipeline, golden) for column in found.record.inputs),
    )


def _trials(found: FoundModel, reference: ReferenceRuntime, golden: pd.DataFrame | None) -> list[_Trial]:
    """Return the recorded rows, where there are some, and rows drawn at random."""
    record, trials = reference.record, []
    if golden is not None and len(golden) and not _hides_predictions(record):
        trials.append(_Trial(rows_of(golden, record.inputs), recorded_answer(golden, record), "recorded"))
    typical = typical_numbers(found.pipeline)
    texts = {column.name: column.categories or () for column in reference.columns}
    for strange in (0.3, 0.0):
        rows = drawn_rows(record, typical=typical, texts=texts, count=_DRAWN, strange=strange)
        try:
            trials.append(_Trial(rows, reference.predict(rows, with_probabilities=True), "drawn"))
        except ModelbookError:
            continue
    return trials


def _hides_predictions(record: ModelRecord) -> bool:
    """Return whether an input column stands where recorded predictions would."""
    names = {"predicted", *(f"probability_{label}" for label in record.classes)}
    return not names.isdisjoint(column.name for column in record.inputs)


def _compile(folder: Path, found: FoundModel, manifest: Manifest, *, trials: list[_Trial]) -> None:
    """Write what a model is made of.

    Raises:
        NotCompilableError: A part of it is not known, or it does not answer as the model does.
    """
    plan = compile_model(found.pipeline, manifest.record, ArrayFolder(folder / ARRAYS))
    write_whole(folder / COMPILED, plan.to_bytes())
    try:
        runtime = open_compiled(folder, manifest)
    except ModelRefusedError as error:
        raise NotCompilableError(f"compiled, it has {error.got}") from error
    for trial in trials:
        _check(runtime, trial)
    if not trials:
        raise NotCompilableError("there are no rows to compare it on")


def _check(runtime: CompiledRuntime, trial: _Trial) -> None:
    try:
        answer = runtime.predict(trial.rows, with_probabilities=True)
    except DataInvalidError as error:
        raise NotCompilableError(f"compiled, it refuses {trial.source} rows") from error
    if differing := count_differing(answer, trial.expected):
        total = len(trial.expected.predictions)
        raise NotCompilableError(
            f"compiled, it says something else of {differing} of {total} {trial.source} rows"
        )


def _copy_package(package: Path, folder: Path, record: ModelRecord) -> None:
    for name in (record.file, *(f"{CODE_FOLDER}/{file.name}" for file in record.code)):
        link_or_copy(package / name, folder / name)
