"""The records of a run: its data, its code, its environment, its model, and what became of them."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from modelbook.config import ColumnType, Task
from modelbook.records.gate import GateVerdict
from modelbook.records.record import Record


class RejectedRows(Record):
    """Rows that validation wrote aside for one reason."""

    reason: str
    column: str | None
    rows: int


class ColumnSummary(Record):
    """What one column of the valid rows holds.

    Attributes:
        name: The column.
        type: The type that the schema gives it.
        nulls: Missing values.
        distinct: Different values, missing ones not counted; approximate above a million rows.
        min: The smallest value of a number column.
        max: The largest value of a number column.
        mean: The mean of a number column.
    """

    name: str
    type: ColumnType
    nulls: int
    distinct: int
    min: float | None = None
    max: float | None = None
    mean: float | None = None


class ValidationReport(Record):
    """What validation found.

    Attributes:
        rows: Rows read.
        valid_rows: Rows that keep to the schema; the others are in rejected.parquet.
        rejected: Rejected rows by reason, the most frequent first. A row counts under its first reason.
        warnings: What is worth a look and stops nothing: constant columns, leaks, rare classes, duplicates.
        failures: What stops the run: too many rejected rows, too few valid ones, one class.
        columns: A summary of each column, over the valid rows.
    """

    rows: int
    valid_rows: int
    rejected: tuple[RejectedRows, ...]
    warnings: tuple[str, ...]
    failures: tuple[str, ...]
    columns: tuple[ColumnSummary, ...]

    @property
    def passed(self) -> bool:
        """Whether the run may go on."""
        return not self.failures

    @property
    def rejected_rows(self) -> int:
        """Rows that were written aside."""
        return self.rows - self.valid_rows


class DataVersion(Record):
    """One file of data as it was used.

    Attributes:
        path: Its path in the project.
        md5: The hash of its bytes, which is DVC's hash of it.
        size_bytes: Its size.
        rows: Its rows, where it is a table.
    """

    path: str
    md5: str
    size_bytes: int
    rows: int | None = None


class CodeState(Record):
    """The code that ran.

    Attributes:
        commit: The git commit of the project; None outside git.
        branch: Its branch; None outside git or on no branch.
        is_dirty: Whether code or config differed from the commit; dvc.lock and DVC's outs never count.
        patch: What differed, as a patch over the commit, untracked source files included.
        patch_omitted: Files that the patch leaves out for their size, or because git could not read them.
    """

    commit: str | None
    branch: str | None
    is_dirty: bool
    patch: bytes | None = None
    patch_omitted: tuple[str, ...] = ()


class Environment(Record):
    """The machine and the packages that a result was made with.

    Attributes:
        python: The version of Python, as in "3.11.7".
        platform: The operating system and architecture.
        cpu: The processor's name.
        cpu_features: What of its vector instructions numerical libraries choose their code by, sorted.
        packages: Installed packages with their exact versions.
        sha256: The hash of the Python version and the packages.
    """

    python: str
    platform: str
    cpu: str
    packages: dict[str, str]
    sha256: str
    cpu_features: tuple[str, ...] = ()

    @property
    def lock(self) -> str:
        """The packages as a requirements file."""
        pins = sorted(f"{name}=={version}" for name, version in self.packages.items())
        return "\n".join([f"# Python {self.python}", *pins, ""])


class Lineage(Record):
    """Everything that a result came from.

    Attributes:
        code: The commit and what differed from it.
        data: Every input file with its hash.
        config: The resolved settings, as JSON has them: dates and the keys of mappings are text.
        config_sha256: Their hash.
        config_yaml: The same settings as YAML that reads as they were; None in older records.
        environment: The machine and the packages.
        seeds: Every seed by name.
        threads: Threads that the model was fitted with.
        command: The command as it was given.
        host: The machine's name.
    """

    code: CodeState
    data: tuple[DataVersion, ...]
    config: dict[str, Any]
    config_sha256: str
    config_yaml: str | None = None
    environment: Environment
    seeds: dict[str, int]
    threads: int
    command: str
    host: str


class InputColumn(Record):
    """A raw column that the model takes."""

    name: str
    type: ColumnType
    nullable: bool


class CodeFile(Record):
    """A Python file that travels with a model, named after its content."""

    name: str
    sha256: str


class ModelRecord(Record):
    """A stored model.

    Attributes:
        algorithm: The name of the estimator in the catalogue or in features.py.
        task: What it predicts.
        target: The column that it predicts.
        classes: The classes in the order of the columns of `predict_proba`; empty for regression.
        inputs: The raw columns that it takes, in order.
        file: The name of the model's file; empty where the model was not kept.
        sha256: The hash of that file; empty without one.
        size_bytes: The size of that file.
        digest: The hash of the fitted state in canonical order: equal states have equal digests.
        code: Python files that it needs.
        requirements: Packages with exact versions that it needs, public ones only.
    """

    algorithm: str
    task: Task
    target: str
    classes: tuple[str | int | bool, ...]
    inputs: tuple[InputColumn, ...]
    file: str
    sha256: str
    size_bytes: int
    digest: str
    code: tuple[CodeFile, ...]
    requirements: tuple[str, ...]


class Candidate(Record):
    """An estimator of the catalogue with settings, as the automatic search tries it."""

    algorithm: str
    settings: dict[str, Any]


class Trial(Record):
    """What became of a candidate.

    Attributes:
        number: When it was tried, from 1.
        algorithm: The estimator.
        settings: Its settings, with the best number of iterations where it was found.
        score: The metric on held-out training rows; None where it could not be had.
        seconds: What trying it took.
        note: Why there is no score.
    """

    number: int
    algorithm: str
    settings: dict[str, Any]
    score: float | None = None
    seconds: float
    note: str | None = None


class Outcome(Record):
    """What the automatic search came to: settings that make the same model wherever they are fitted.

    Attributes:
        algorithm: An estimator, or `blend`.
        hyperparameters: Its settings; of a blend its members and their weights.
        metric: What candidates were compared by; less is better.
        score: That metric of the choice on held-out training rows.
        trials: Everything that was tried.
        seconds: How long the search took.
    """

    algorithm: str
    hyperparameters: dict[str, Any]
    metric: str
    score: float
    trials: tuple[Trial, ...]
    seconds: float


class RunMetadata(Record):
    """metadata.json: the whole record of a run, from which it can be entered into any tracking store.

    Attributes:
        schema_version: The version of this record.
        uid: The run's own id, which it keeps in every store.
        run_id: The id that the tracking store gave it; the uid where there was none.
        run_name: `<algorithm>_<YYYYmmdd_HHMMSS>`.
        experiment: The experiment that it belongs to.
        started_at: When training began, with a time zone.
        ended_at: When everything about the fit was known.
        params: Bare names for hyperparameters, dotted config keys for the rest.
        metrics: `test_*`, `train_*`, `cv_*_mean` and `cv_*_std`.
        importances: The features by importance, the largest first.
        model: The stored model.
        lineage: What it came from.
        outcome: What `model.algorithm: auto` came to; None where the settings name an algorithm.
    """

    schema_version: int = 1
    uid: str
    run_id: str
    run_name: str
    experiment: str
    started_at: datetime
    ended_at: datetime
    params: dict[str, str]
    metrics: dict[str, float]
    importances: dict[str, float]
    model: ModelRecord
    lineage: Lineage
    outcome: Outcome | None = None


class StageStatus(StrEnum):
    """How a stage came to its outputs: it ran, they were there, or DVC's cache had them."""

    RAN = "ran"
    CACHED = "cached"
    RESTORED = "restored"


class StageResult(Record):
    """What became of one stage in a run of the pipeline.

    Attributes:
        name: The stage.
        status: How it came to its outputs.
        seconds: How long that took.
        why: Why it had to run, one reason a line.
    """

    name: str
    status: StageStatus
    seconds: float
    why: tuple[str, ...] = ()


Stage = Literal["None", "Staging", "Production", "Archived"]


class ModelVersion(Record):
    """A registered version in the local registry.

    Attributes:
        name: The model.
        version: The local version, `v_YYYYmmdd_HHMMSS`.
        mlflow_version: The version in MLflow's registry, where it has one.
        run_id: The run that made it; None where nobody said.
        uid: The same run's own id.
        created_at: When it was registered.
        stage: `None`, `Staging`, `Production` or `Archived`.
        gate: What the gate said of it.
        metrics: Its metrics on the test rows.
        file: The model's file, as a path in the project.
        sha256: The hash of that file.
        size_bytes: The size of that file.
        model: The record of the packed model, by which it can be loaded.
        metadata: What else was given when it was registered.
        removed_at: When its file was removed here to make room; None while it is there.
    """

    name: str
    version: str
    mlflow_version: str | None = None
    run_id: str | None = None
    uid: str | None = None
    created_at: datetime
    stage: Stage = "None"
    gate: GateVerdict = GateVerdict.NONE
    metrics: dict[str, float] = Field(default_factory=dict)
    file: str
    sha256: str
    size_bytes: int
    model: ModelRecord | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    removed_at: datetime | None = None
