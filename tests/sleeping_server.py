"""A server whose model answers after as many seconds as its row says, in a process that can be ended.

`python sleeping_server.py PORT SETTINGS` is the server; it starts `python -m sleeping_server FOLDER HANDLE`.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from modelbook.config import Config
from modelbook.records import InputColumn, ModelRecord
from modelbook.serving import apart, pool, runtime
from modelbook.serving.answers import Answer
from modelbook.serving.current import Current, Serving

COLUMN = InputColumn(name="seconds", type="float", nullable=True)


class Sleeping:
    """Answers what it was asked, later."""

    def predict(self, rows, *, with_probabilities) -> Answer:
        """Return the answer."""
        del with_probabilities
        time.sleep(float(rows["seconds"][0]))
        return Answer(rows["seconds"], None)


def serve(port: int, settings) -> None:
    """Answer until the process is ended."""
    import uvicorn

    from modelbook.serving.app import make_app
    from modelbook.serving.connection import CuttingProtocol

    pool._MODULE = "sleeping_server"
    pool.read_golden = lambda _: None
    record = ModelRecord.model_construct(task="regression", classes=(), inputs=(COLUMN,), algorithm="none")
    manifest = SimpleNamespace(record=record, columns=(), has_probabilities=False)
    config = Config(serving=settings)
    current = Current()
    processes = config.serving.model_processes
    current.swap(Serving(pool.PooledRuntime(Path(), manifest, processes=processes), "sleeper", "7"))
    uvicorn.run(make_app(current, config), port=port, http=CuttingProtocol, log_config=None, backlog=2048)


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        serve(int(sys.argv[1]), json.loads(sys.argv[2]))
    else:
        runtime.open_runtime = lambda _: Sleeping()
        apart.main()
