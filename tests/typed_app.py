"""An application whose model takes a column of every type and says the same of every row."""

import numpy as np

from modelbook.config import Config
from modelbook.records import InputColumn, ModelRecord
from modelbook.serving.app import make_app
from modelbook.serving.current import Current, Serving
from modelbook.serving.door import Door
from modelbook.serving.manifest import ServedColumn
from modelbook.serving.runtime import Answer, Runtime

TYPES = {"area": "float", "rooms": "integer", "new": "boolean", "zone": "string", "built": "datetime"}


class TypedModel:
    """Answers no, or that no and yes are as probable."""

    kind = "compiled"
    golden = None

    def __init__(self) -> None:
        columns = [{"name": name, "type": kind, "nullable": True} for name, kind in TYPES.items()]
        self.columns = tuple(ServedColumn(**column) for column in columns)
        self.record = ModelRecord.model_construct(
            task="classification",
            classes=("no", "yes"),
            inputs=tuple(InputColumn(**column) for column in columns),
            algorithm="none",
        )

    def predict(self, rows, *, with_probabilities=False) -> Answer:
        """Return the answer."""
        number = len(rows["rooms"])
        probabilities = np.full((number, 2), 0.5) if with_probabilities else None
        return Answer(np.array(["no"] * number, dtype=object), probabilities)


def typed_app(model: Runtime | None = None) -> Door:
    """Return the application, of this model or another that takes its columns."""
    current = Current()
    current.swap(Serving(model or TypedModel(), "houses", "7"))
    hosts = ["testserver", "localhost"]
    return make_app(
        current, Config(serving={"access_log": False, "allowed_hosts": hosts, "max_body_mb": 0.1})
    )
