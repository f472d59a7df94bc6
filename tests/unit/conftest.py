"""A run's record, made without running anything."""

from datetime import UTC, datetime

import pytest

from modelbook.config import load_config
from modelbook.records import (
    CodeState,
    DataVersion,
    Environment,
    InputColumn,
    Lineage,
    ModelRecord,
    RunMetadata,
)


@pytest.fixture
def make_metadata():
    """Return a function that makes the record of a run, any of its fields as given."""
    return _metadata


def _metadata(uid="a" * 32, *, model=None, lineage=None, **fields):
    config = load_config({}, environ={})
    packages = {"numpy": "2.4.6"}
    return RunMetadata(
        **{
            "uid": uid,
            "run_id": uid,
            "run_name": "ridge_20261121_090507",
            "experiment": "houses",
            "started_at": datetime(2026, 11, 21, 9, 5, 7, tzinfo=UTC),
            "ended_at": datetime(2026, 11, 21, 9, 5, 9, tzinfo=UTC),
            "params": {"algorithm": "ridge"},
            "metrics": {"test_rmse": 2.5},
            "importances": {"area": 1.0},
        }
        | fields,
        model=ModelRecord(
            **{
                "algorithm": "ridge",
                "task": "regression",
                "target": "price",
                "classes": (),
                "inputs": (InputColumn(name="area", type="float", nullable=False),),
                "file": "model.skops",
                "sha256": "b" * 64,
                "size_bytes": 48_200,
                "digest": "c" * 64,
                "code": (),
                "requirements": ("numpy==2.4.6",),
            }
            | (model or {})
        ),
        lineage=Lineage(
            **{
                "code": CodeState(commit="0" * 40, branch="main", is_dirty=False),
                "data": (DataVersion(path="data/raw/t.csv", md5="d" * 32, size_bytes=18, rows=4),),
                "config": config.as_dict(),
                "config_sha256": config.sha256,
                "environment": Environment(
                    python="3.11.7", platform="Linux", cpu="Some CPU", packages=packages, sha256="e" * 64
                ),
                "seeds": {"split": 42},
                "threads": 2,
                "command": "modelbook run",
                "host": "bench",
            }
            | (lineage or {})
        ),
    )
