"""Settings that change while a run holds the project."""

import pytest

from modelbook.config import set_values
from modelbook.errors import ConfigError, ProjectBusyError
from modelbook.pipeline import stages
from modelbook.pipeline.lock import hold_project

SEED = "split.seed"


def test_settings_are_not_written_under_another_run(fresh):
    """A run that finds the project held leaves the settings that the other one reads as they are."""
    before = (fresh.root / "config/config.yaml").read_bytes()
    with hold_project(fresh.config, command="modelbook run"), pytest.raises(ProjectBusyError):
        fresh.run(settings={SEED: "7"})
    assert (fresh.root / "config/config.yaml").read_bytes() == before


@pytest.fixture
def meddling(fresh, monkeypatch):
    """Return a project whose settings change while its first stage runs."""
    original = stages.STAGES["ingest"]

    def ingest(config, log):
        original(config, log)
        set_values(fresh.root / "config/config.yaml", {"data.min_rows": "21"})

    monkeypatch.setattr(stages, "STAGES", {**stages.STAGES, "ingest": ingest})
    return fresh


def test_settings_that_change_during_a_stage(meddling):
    """The stage fails, so that nothing made with the old settings is noted down as made with the new."""
    with pytest.raises(ConfigError, match="the settings changed while stage ingest ran") as caught:
        meddling.run()
    assert caught.value.where == str(meddling.root / "config/config.yaml")
    assert not (meddling.root / "dvc.lock").exists()


def test_settings_that_change_without_dvc(meddling):
    """Without DVC nothing is noted down, and the run keeps to the settings that it began with."""
    meddling.run(use_dvc=False)
    assert meddling.metadata.lineage.config["data"]["min_rows"] == 20
