from types import SimpleNamespace

import pytest

from modelbook.errors import ModelRefusedError
from modelbook.records import InputColumn, ModelRecord
from modelbook.serving.succession import check_successor

AREA = InputColumn(name="area", type="integer", nullable=False)
TOWN = InputColumn(name="town", type="string", nullable=True)


def a_model(*inputs, task="regression", classes=(), has_probabilities=True):
    record = ModelRecord.model_construct(inputs=inputs, task=task, classes=classes)
    return SimpleNamespace(record=record, has_probabilities=has_probabilities)


@pytest.mark.parametrize(
    "inputs",
    [
        (AREA, TOWN),
        (TOWN, AREA),
        (TOWN,),
        (AREA.model_copy(update={"type": "float"}), TOWN),
        (AREA, TOWN.model_copy(update={"nullable": False})),
    ],
)
def test_requests_stay_good(inputs):
    """A successor may take fewer columns, in another order, and any number where it was a whole one."""
    check_successor(a_model(AREA, TOWN), a_model(*inputs))


@pytest.mark.parametrize(
    ("successor", "got"),
    [
        (a_model(AREA, TOWN, InputColumn(name="age", type="float", nullable=True)), "age: a column"),
        (a_model(AREA, TOWN.model_copy(update={"type": "boolean"})), "town: boolean, was string"),
        (a_model(AREA, TOWN, task="classification", classes=("a", "b")), "classification, not regression"),
    ],
)
def test_requests_would_break(successor, got):
    """A column that clients do not send, another type or another task keeps a successor out."""
    with pytest.raises(ModelRefusedError, match="does not take what the served one takes") as raised:
        check_successor(a_model(AREA, TOWN), successor)
    assert got in raised.value.got


def test_numbers_do_not_become_whole():
    """Where clients send any number, a model of whole numbers would refuse some."""
    former = a_model(AREA.model_copy(update={"type": "float"}))
    with pytest.raises(ModelRefusedError):
        check_successor(former, a_model(AREA))


def test_classes_keep_their_places():
    """Clients find a class's probability by its place."""
    former = a_model(AREA, task="classification", classes=("a", "b"))
    check_successor(former, a_model(AREA, task="classification", classes=("a", "b")))
    with pytest.raises(ModelRefusedError) as raised:
        check_successor(former, a_model(AREA, task="classification", classes=("b", "a")))
    assert raised.value.got == "its classes are others, or in another order"


def test_probabilities_do_not_go():
    """Clients that ask for probabilities would get none; that there are some from now on harms nobody."""
    with_them, without = (
        a_model(AREA, task="classification", classes=("a", "b"), has_probabilities=has)
        for has in (True, False)
    )
    check_successor(without, with_them)
    with pytest.raises(ModelRefusedError) as raised:
        check_successor(with_them, without)
    assert raised.value.got == "it has no probabilities"
