"""Runs, kills, outages, deliveries and registrations in any order: nothing is lost or there twice."""

import subprocess
import sys
import time

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sklearn.linear_model import LinearRegression

from modelbook.pipeline.syncing import sync
from modelbook.tracking.outbox import waiting, waiting_events
from modelbook.tracking.tracker import MLflowTracker

pytestmark = pytest.mark.slow

EXAMPLES = 5
STEPS = 8
TREES = "model.hyperparameters.random_forest.n_estimators"
RUN_S = 6.0


class Sequences(RuleBasedStateMachine):
    """What may happen to a project, and what must be true of it whenever nothing happens."""

    copy_for = None
    proxy = None
    examples = 0

    @initialize()
    def begin(self):
        """Lay down a project with an experiment and a model of its own."""
        type(self).examples += 1
        self.project = self.copy_for(f"example-{self.examples}", self.proxy.address)
        self.is_up = True
        self.whole: set[str] = set()  # uids of runs that ended well
        self.by_hand: set[str] = set()  # uids of runs with a model registered by hand
        self.moment = 0

    @rule(trees=st.integers(2, 4))
    def run(self, trees):
        """Run with other settings, or with settings that were there before."""
        outcome = self.project.run(settings={TREES: str(trees)})
        assert outcome.gate.passed
        assert outcome.recorded in {"mlflow", "outbox"}
        self.whole.add(self.project.metadata.uid)

    @rule(trees=st.integers(2, 4), share=st.floats(0.1, 1))
    def killed_run(self, trees, share):
        """Kill a run at some moment."""
        words = [sys.executable, "-m", "modelbook", "run", "--set", f"{TREES}={trees}"]
        process = subprocess.Popen(words, cwd=self.project.root, stderr=subprocess.DEVNULL)
        time.sleep(share * RUN_S)
        process.kill()
        process.wait()

    @precondition(lambda self: self.is_up)
    @rule()
    def outage(self):
        """The server goes away."""
        self.proxy.cut()
        self.is_up = False

    @precondition(lambda self: not self.is_up)
    @rule()
    def recovery(self):
        """The server comes back."""
        self.proxy.mend()
        self.is_up = True

    @rule()
    def deliver(self):
        """Deliver what waits."""
        report, error = sync(self.project.config)
        assert self.is_up is (error is None) or not report.waiting
        assert not (self.is_up and report.waiting)

    @rule(slope=st.integers(1, 1_000_000))
    def register(self, slope):
        """Register a model from a notebook."""
        X = np.arange(6.0).reshape(-1, 1)
        with MLflowTracker(self.project.config) as tracker:
            tracker.start_run("by hand")
            model = LinearRegression().fit(X, X[:, 0] * slope)
            tracker.log_model(model, registered_model_name=self.project.config.tracking.model_name)
            self.by_hand.add(tracker.uid)

    @invariant()
    def files_are_whole(self):
        """The local registry and the outbox can be read, and no local version is there twice."""
        path = self.project.root / "models/model_registry/registry.json"
        entries = orjson.loads(path.read_bytes())["versions"] if path.exists() else []
        assert len({entry["version"] for entry in entries}) == len(entries)
        assert len(waiting_events(self.project.config)) == len(waiting(self.project.config))

    def teardown(self):
        """With the server back and one more run everything is on record, once."""
        if not self.is_up:
            self.proxy.mend()
        self.run(trees=5)
        assert sync(self.project.config) == ((), ()) or not waiting(self.project.config)
        self.check_runs()
        self.check_versions()

    def check_runs(self):
        """Each run that ended is finished in the store, none is there twice, and none is open."""
        runs = self.project.recorded
        uids = [run.data.tags["modelbook.uid"] for run in runs]
        assert len(set(uids)) == len(uids)
        finished = {run.data.tags["modelbook.uid"] for run in runs if run.info.status == "FINISHED"}
        assert self.whole | self.by_hand <= finished
        assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}

    def check_versions(self):
        """MLflow's versions are dense and of distinct models, and the local registry agrees with them."""
        client, name = self.project.client, self.project.config.tracking.model_name
        found = {
            version.version: version.tags["modelbook.model_digest"]
            for version in client.search_model_versions(f"name = '{name}'")
        }
        assert sorted(map(int, found)) == list(range(1, len(found) + 1))
        assert len(set(found.values())) == len(found)
        for entry in self.project.registry:
            assert found[entry["mlflow_version"]] == entry["model"]["digest"]


def test_any_sequence_of_events(copy_for, proxy, say):
    """Hypothesis looks for a sequence after which something is lost, twice, or out of step."""
    say(f"{EXAMPLES} sequences of up to {STEPS} steps")
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    own = {"copy_for": staticmethod(copy_for), "proxy": proxy}
    run_state_machine_as_test(type("Sequences", (Sequences,), own), settings=chosen)
