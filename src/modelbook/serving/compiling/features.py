"""A fitted FeatureEngineer turned into the steps of a program."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelbook.config import ColumnType
from modelbook.records import ModelRecord
from modelbook.serving.compiled.arrays import ArrayFolder
from modelbook.serving.compiled.columns import TIME_PLACES
from modelbook.serving.compiled.plan import FeaturesPlan, PlacesPlan, TextColumn
from modelbook.serving.compiled.program import Part, Step
from modelbook.serving.compiling.encoding import encoded_tables, known_texts
from modelbook.serving.compiling.program import Program
from modelbook.serving.compiling.refusal import NotCompilableError, class_of

_TAKEN: dict[str, tuple[ColumnType, ...]] = {
    "numeric": ("float", "integer", "boolean"),
    "boolean": ("boolean", "float", "integer"),
    "categorical": ("string", "float", "integer", "boolean"),
    "datetime": ("datetime",),
}
_CYCLES = {"month": 12, "day_of_year": 366, "weekday": 7, "hour": 24}
_WAVES = {"sine": math.sin, "cosine": math.cos}
_TERMS = {
    "product": ("times", Step.PRODUCT),
    "difference": ("minus", Step.DIFFERENCE),
    "sum": ("plus", Step.SUM),
}


def compile_features(transformer: Any, record: ModelRecord, arrays: ArrayFolder) -> FeaturesPlan:
    """Return how the features of a fitted transformer are made.

    Args:
        transformer: The first step of a model's pipeline.
        record: The model, whose columns have types.
        arrays: Gets the arrays.

    Raises:
        NotCompilableError: A step is not known.
    """
    _check_known(transformer, "sklearn.Pipeline")
    table, *steps, matrix = [part for _, part in transformer.steps]
    _check_known(table, "transformers.TableColumns")
    _check_known(matrix, "matrix.FeatureMatrix")
    texts = tuple(_text_columns(table, record, [*steps, matrix]))
    program = Program(texts={column.name: column.categories for column in texts})
    _lay_out(program, table)
    places = _lay_out_places(program, steps, arrays)
    for step in steps:
        _translate(step, program, places)
    return FeaturesPlan(
        numbers=tuple(table.numeric),
        truths=tuple(table.boolean),
        texts=texts,
        times=tuple(table.datetime),
        places=places,
        features=_translate_matrix(matrix, program),
        steps=arrays.write("steps", np.array(program.steps, dtype=np.int64).reshape(-1, 6)),
        constants=arrays.write("constants", np.array(program.constants, dtype=np.float64)),
        room=program.room,
    )


def _check_known(part: Any, expected: str) -> None:
    if class_of(part) != expected:
        raise NotCompilableError(f"its features are made by {type(part).__name__}")


def _text_columns(table: Any, record: ModelRecord, steps: Sequence[Any]) -> list[TextColumn]:
    types = {column.name: column.type for column in record.inputs}
    for role, taken in _TAKEN.items():
        for name in getattr(table, role):
            if types.get(name) not in taken:
                raise NotCompilableError(f"{name!r} is {types.get(name)} in the role {role}")
    return [
        TextColumn(name=name, type=types[name], categories=tuple(sorted(_known(name, steps))))
        for name in table.categorical
    ]


def _known(name: str, steps: Sequence[Any]) -> set[str]:
    """Return the texts of a column that its encoder or its counts know."""
    *others, matrix = steps
    known = known_texts(matrix.encoder_, list(matrix.categorical).index(name))
    for step in others:
        if class_of(step) == "derived.Counts" and name in step.columns:
            known |= set(step.known_[list(step.columns).index(name)].tolist())
    return known


def _lay_out(program: Program, table: Any) -> None:
    """Give each raw column its place, as `Columns` writes them."""
    widths = [(name, 1) for name in (*table.numeric, *table.boolean, *table.categorical)]
    for name, width in [*widths, *((name, TIME_PLACES) for name in table.datetime)]:
        program.places[name] = program.take(width)
    program.raw = program.room


def _lay_out_places(program: Program, steps: Sequence[Any], arrays: ArrayFolder) -> PlacesPlan | None:
    geography = next((step for step in steps if class_of(step) == "neighbours.Geography"), None)
    if geography is None:
        return None
    width = len(geography.get_feature_names_out()) - len(geography.feature_names_in_)
    has_known = bool(geography.neighbours)
    program.take(width)
    return PlacesPlan(
        latitude=geography.latitude,
        longitude=geography.longitude,
        origin=geography.origin_,
        neighbours=tuple(geography.neighbours),
        rotations=tuple(geography.rotations),
        centres=arrays.write("centres", geography.centres_),
        known=arrays.write("known_places", geography.places_) if has_known else None,
        values=arrays.write("known_values", geography.values_) if has_known else None,
        scale=geography.scale_ if has_known else 0.0,
        width=width,
    )


def _translate(step: Any, program: Program, places: PlacesPlan | None) -> None:
    match class_of(step):
        case "derived.Counts":
            _count(step, program)
        case "derived.DatetimeParts":
            _take_parts(step, program)
        case "derived.Ratios":
            _divide(step, program)
        case "derived.Interactions":
            _combine(step, program)
        case "derived.Curves":
            _bend(step, program)
        case "neighbours.Geography" if places:
            _place(step, program, places)
        case _:
            raise NotCompilableError(f"its features go through {type(step).__name__}")


def _count(step: Any, program: Program) -> None:
    made = {}
    for at, name in enumerate(step.columns):
        known, counts, missing = step.known_[at].tolist(), step.counts_[at].tolist(), step.missing_[at]
        if name in program.texts:
            by_text = dict(zip(known, counts, strict=True))
            table = [by_text.get(text, 0.0) for text in program.texts[name]]
            made[f"{name}_count"] = program.look_up(name, np.array([[*table, 0.0, missing]]).T)
        else:
            know = [*map(float, known), *counts, missing]
            place = program.places[name]
            made[f"{name}_count"] = program.add(Step.COUNT, place, know=know, width=len(known))
    program.rename(made)


def _take_parts(step: Any, program: Program) -> None:
    made: dict[str, int] = {}
    for name in step.columns:
        for part in step.parts:
            made |= {f"{name}_{title}": place for title, place in _part(part, program.places[name], program)}
    program.rename(made, gone=step.columns)


def _part(part: str, time: int, program: Program) -> list[tuple[str, int]]:
    if part == "days_since_epoch":
        return [(part, time + TIME_PLACES - 1)]
    if not part.endswith("_cycle"):
        return [(part, program.add(Step.PART, time, y=Part[part.upper()]))]
    name = part.removesuffix("_cycle")
    number = program.add(Step.PART, time, y=Part[name.upper()])
    angles = (np.arange(_CYCLES[name] + 1) * (2 * math.pi / _CYCLES[name])).tolist()
    return [
        (f"{name}_{title}", program.add(Step.LOOKUP, number, know=map(wave, angles)))
        for title, wave in _WAVES.items()
    ]


def _divide(step: Any, program: Program) -> None:
    at = program.places
    program.rename({f"{x}_per_{y}": program.add(Step.RATIO, at[x], y=at[y]) for x, y in step.pairs})


def _combine(step: Any, program: Program) -> None:
    at, made = program.places, {}
    for operation, x, y in step.terms:
        title, kind = _TERMS[operation]
        made[f"{x}_{title}_{y}"] = program.add(kind, at[x], y=at[y])
    program.rename(made)


def _bend(step: Any, program: Program) -> None:
    at = program.places
    logs = {f"log_{name}": program.add(Step.LOGARITHM, at[name]) for name in step.log}
    roots = {f"square_root_{name}": program.add(Step.ROOT, at[name]) for name in step.square_root}
    program.rename(logs | roots)


def _place(step: Any, program: Program, places: PlacesPlan) -> None:
    if any(program.places[name] >= program.raw for name in (places.latitude, places.longitude)):
        raise NotCompilableError("its places are made of other columns")
    made = step.get_feature_names_out()[len(step.feature_names_in_) :].tolist()
    program.rename({name: program.raw + at for at, name in enumerate(made)})


def _translate_matrix(matrix: Any, program: Program) -> int:
    """Add what fills, scales and encodes, and return the number of features; they take the last places."""
    texts = [program.texts[name] for name in matrix.categorical]
    tables = list(encoded_tables(matrix.encoder_, texts)) if matrix.encoder_ is not None else []
    filled = [*matrix.numeric_, *matrix.boolean]
    count = len(filled) + sum(int(table.shape[1]) for _, table in tables)
    out = first = program.take(count)
    for name, filling in zip(filled, _fillings(matrix), strict=True):
        program.add(Step.FILL, program.places[name], out=out, know=[filling])
        out += 1
    for at, (step, constants) in enumerate(_scaling(matrix.scaler_)):
        program.add(step, first + at, out=first + at, know=constants)
    for position, table in tables:
        program.look_up(matrix.categorical[position], table, out=out)
        out += table.shape[1]
    return count


def _fillings(matrix: Any) -> list[float]:
    """Return what stands in for a gap in each number column and then in each true-or-false one."""
    return [
        *_filling(matrix.imputer_, len(matrix.numeric_)),
        *_filling(matrix.boolean_imputer_, len(matrix.boolean)),
    ]


def _filling(imputer: Any, count: int) -> list[float]:
    """Return what stands in for a gap in each column; NaN where a gap stays one."""
    gaps = np.full((1, count), np.nan)
    filled = gaps if imputer is None else imputer.transform(gaps)
    return [float(value) for value in filled[0]]


def _scaling(scaler: Any) -> list[tuple[Step, tuple[float, ...]]]:
    """Return the step that scales each number column, and its two constants; nothing where none does."""
    if scaler is None:
        return []
    fitted = {
        "sklearn.StandardScaler": (Step.CENTRE, "mean_", "scale_"),
        "sklearn.RobustScaler": (Step.CENTRE, "center_", "scale_"),
        "sklearn.MinMaxScaler": (Step.STRETCH, "scale_", "min_"),
    }
    if class_of(scaler) not in fitted:
        raise NotCompilableError(f"its numbers are scaled by {type(scaler).__name__}")
    step, *names = fitted[class_of(scaler)]
    constants = zip(*(getattr(scaler, name).tolist() for name in names), strict=True)
    return [(step, pair) for pair in constants]


def fitted_matrix(pipeline: Any) -> Any:
    """Return the last step of a model's features, where it is ours; else None."""
    features: Any = getattr(pipeline, "named_steps", {}).get("features")
    last = features[-1] if class_of(features) == "sklearn.Pipeline" else None
    return last if class_of(last) == "matrix.FeatureMatrix" else None


def typical_numbers(pipeline: Any) -> dict[str, float]:
    """Return what a model fills the gaps of its number columns with, where it fills them."""
    matrix = fitted_matrix(pipeline)
    if matrix is None or matrix.imputer_ is None:
        return {}
    return dict(zip(matrix.numeric_, _filling(matrix.imputer_, len(matrix.numeric_)), strict=True))
