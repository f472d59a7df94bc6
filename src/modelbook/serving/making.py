"""A process that makes the bundle of one version and ends: `python -m modelbook.serving.making`.

It may import MLflow and scikit-learn, and takes their memory with it when it ends. Its order comes as JSON on
standard input, its outcome goes as JSON to standard output; whatever else is printed goes to standard error.
"""

import dataclasses
import logging
import os
import sys
from pathlib import Path
from typing import Any

from modelbook.config import Config, load_config
from modelbook.errors import ModelbookError, ModelRefusedError
from modelbook.logs import PipelineLogger
from modelbook.records import Record
from modelbook.registry.shelf import Shelf
from modelbook.serving.leaving import end_with_parent

_NICE = 5  # requests go first


class Order(Record):
    """What to make: a version of a model in a project.

    Attributes:
        settings: The project's settings.
        root: Its folder.
        name: The model.
        version: Its version.
        digest: The digest that its fitted state has by the registry's word; None where nobody said.
    """

    settings: dict[str, Any]
    root: str
    name: str
    version: str
    digest: str | None


class Outcome(Record):
    """What came of it.

    Attributes:
        digest: The digest of the bundle; None where there is none.
        warnings: What deserves a look.
        error: Why there is none, in an error's fields.
    """

    digest: str | None = None
    warnings: tuple[str, ...] = ()
    error: dict[str, str | int | None] | None = None


def make(config: Config, order: Order) -> str:
    """Make the bundle of a version in the project's shelf, and return its digest.

    A copy in the project is taken before one in MLflow, if it is what the registry says.

    Raises:
        NotFoundError: There is no such version, or its files are gone.
        ModelRefusedError: A file is not what was recorded, or holds what is not trusted.
        TrackingStoreError: The store cannot be used.
        StorageError: The project's folder cannot be written or the disk is full.
    """
    ref = f"{order.name}/{order.version}"
    try:
        return _make_of(config, order, ref)
    except ModelRefusedError as error:
        if not config.training.enable_mlflow:
            raise
        PipelineLogger("serve").warning(f"{ref}: {error.what}; taking what MLflow has")
        return _make_of(config, order, f"models:/{ref}")


def _make_of(config: Config, order: Order, ref: str) -> str:
    from modelbook.registry.loading import open_package
    from modelbook.serving.bundle import write_bundle
    from modelbook.serving.evidence import find_evidence

    log = PipelineLogger("serve")
    with open_package(ref, config=config) as (found, package):
        digest = found.record.digest if found.record else None
        if digest is None or order.digest not in {None, digest}:
            raise ModelRefusedError(
                "the model is not the one that the registry names",
                where=ref,
                got=digest or "no record",
                expected=order.digest,
                hint="somebody changed the stored files: make the model again",
            )
        named = dataclasses.replace(found, name=order.name, version=order.version)
        golden = find_evidence(config, found, package)
        write_bundle(named, package, Shelf(config).bundle(digest), golden=golden, log=log)
    return digest


def carry_out(order: Order) -> Outcome:
    """Return what came of making a bundle; of an error that nobody foresaw no more than its kind."""
    try:
        return Outcome(digest=make(load_config(order.settings).at(Path(order.root)), order))
    except ModelbookError as error:
        return Outcome(error=error.as_dict())
    except Exception as error:  # noqa: BLE001 (its text and its traceback may quote rows)
        unforeseen = ModelbookError(
            "making the model ready failed",
            where=f"{order.name}/{order.version}",
            got=type(error).__name__,
        )
        return Outcome(error=unforeseen.as_dict())


class _Heard(logging.Handler):
    """Keeps warnings, to be told by whoever gave the order."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def main() -> None:
    """Carry out the order on standard input."""
    os.nice(_NICE)
    end_with_parent()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    heard = _Heard()
    logging.getLogger("modelbook").addHandler(heard)
    outcome = carry_out(Order.model_validate_json(sys.stdin.buffer.read()))
    with answers:
        answers.write(outcome.model_copy(update={"warnings": tuple(heard.messages)}).to_bytes())


if __name__ == "__main__":
    main()
