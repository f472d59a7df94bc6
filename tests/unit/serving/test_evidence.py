import numpy as np
import polars as pl
import pytest

from modelbook.registry.loading import FoundModel, open_package
from modelbook.serving.evidence import find_evidence


@pytest.fixture
def project(two_versions, tmp_path):
    return two_versions.copy(tmp_path / "houses")


def evidence(project, ref):
    """Return the rows that come with a version, and what the version itself says of them."""
    with open_package(ref, config=project.config) as (found, package):
        rows = find_evidence(project.config, found, package)
        inputs = [column.name for column in found.record.inputs]
        return rows, None if rows is None else found.pipeline.predict(rows[inputs])


@pytest.mark.parametrize("version", ["1", "2"])
def test_the_test_rows_come_with_each_version(project, version):
    """They are the project's test rows, with what the run of that version recorded for them."""
    rows, said = evidence(project, f"houses/{version}")
    assert list(rows.columns) == ["area", "rooms", "town", "predicted"]
    assert len(rows) == len(project.predictions)
    np.testing.assert_allclose(said, rows["predicted"], rtol=1e-12)


@pytest.mark.parametrize("changed", ["price", "area"])
def test_other_test_rows_are_none_of_its_own(project, changed):
    """Where a value of the test rows was corrected since, the few that MLflow keeps with a model do."""
    path = project.root / "data/processed/test.parquet"
    table = pl.read_parquet(path).with_columns(pl.col(changed) + 1)
    path.unlink()
    table.write_parquet(path)
    rows, said = evidence(project, "models:/houses/1")
    assert len(rows) == 5
    assert list(rows.columns) == ["area", "rooms", "town", "predicted"]
    np.testing.assert_array_equal(said, rows["predicted"])
    assert evidence(project, "houses/1")[0] is None, "the local registry keeps no rows"


def test_a_model_without_a_record_has_no_rows(project, tmp_path):
    """Nothing is known of what it takes."""
    assert find_evidence(project.config, FoundModel(None, None), tmp_path) is None
