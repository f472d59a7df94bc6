"""Whether a version may take the place of another under clients that know the former one's columns."""

from typing import Protocol

from modelbook.errors import ModelRefusedError
from modelbook.records import InputColumn, ModelRecord


class Served(Protocol):
    """What a version takes and says: as it is open, or as its bundle has it."""

    @property
    def record(self) -> ModelRecord:
        """What is recorded of the model."""
        ...

    @property
    def has_probabilities(self) -> bool:
        """Whether it says how probable each class is."""
        ...


def check_successor(served: Served, successor: Served) -> None:
    """Return quietly where every request that the former model took is one to the new model too.

    It may want fewer columns, and in another order; a column of whole numbers may become one of numbers.
    The answers must stay of one kind: the same task, and the same classes in the same order, since clients
    read probabilities by their place, and probabilities where there were some.

    Raises:
        ModelRefusedError: Some requests would be refused, or their answers mean something else.
    """
    former, record = served.record, successor.record
    expected = {column.name: column for column in former.inputs}
    faults = [fault for column in record.inputs if (fault := _fault(expected.get(column.name), column))]
    if former.task != record.task:
        faults.append(f"it is for {record.task}, not {former.task}")
    elif former.classes != record.classes:
        faults.append("its classes are others, or in another order")
    elif served.has_probabilities and not successor.has_probabilities:
        faults.append("it has no probabilities")
    if faults:
        raise ModelRefusedError(
            "the version does not take what the served one takes",
            got="; ".join(faults),
            hint="restart the server to serve it all the same, once its clients send what it takes",
        )


def _fault(former: InputColumn | None, column: InputColumn) -> str | None:
    if former is None:
        return f"{column.name}: a column that clients do not send"
    if (former.type, column.type) not in {(column.type, column.type), ("integer", "float")}:
        return f"{column.name}: {column.type}, was {former.type}"
    return None
