import pytest

from modelbook.config import load_config
from modelbook.errors import ConfigError, NotFoundError, UsageError
from modelbook.pipeline.sweeps.space import (
    Choice,
    Range,
    decoded,
    default_space_of,
    parse_grid,
    points_of,
    probes_of,
    read_space,
    slowest_first,
)


def test_a_grid_has_every_value_with_every_other():
    """Two keys of two values are four points, the last key varying fastest."""
    points = points_of(parse_grid([("training.seed", "1, 2"), ("features.numeric.scale", "robust,none")]))
    assert [tuple(decoded(point).values()) for point in points] == [
        (1, "robust"),
        (1, "none"),
        (2, "robust"),
        (2, "none"),
    ]


def test_what_rows_and_features_are_made_by_comes_first():
    """Rows before features, features before the rest; among equals the order is the one that was given."""
    keys = ("training.cv_folds", "model.algorithm", "features.b", "split.seed", "features.a", "data.min_rows")
    assert list(slowest_first(dict.fromkeys(keys, Choice(choices=("1",))))) == [
        *("data.min_rows", "split.seed", "features.b", "features.a", "training.cv_folds", "model.algorithm")
    ]


def test_a_grid_takes_whatever_yaml_has():
    """Lists, texts with commas and nothing at all are values too; a value given twice counts once."""
    space = parse_grid([("features.numeric.columns", "[a, b], [c]"), ("model.x", '"1,2", null, 1e-3, null')])
    assert decoded({"a": space["features.numeric.columns"].choices[0]}) == {"a": ["a", "b"]}
    assert space["model.x"].choices == ('"1,2"', "null", "0.001")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([("split.seed", "")], "there are no values to sweep"),
        ([("split.seed", "1,[2")], "not YAML"),
        ([("split.seed", "1"), ("split.seed", "2")], "swept twice"),
        ([("tracking.uri", "a,b")], "bears on no result"),
        ([("training.n_jobs", "1,2")], "bears on no result"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(given, said):
    """No values, no YAML, one key twice, and settings that bear on no result end with exit code 2."""
    with pytest.raises(UsageError, match=said) as caught:
        parse_grid(given)
    assert caught.value.exit_code == 2


def test_a_space_file_has_ranges_and_choices(tmp_path):
    """Whole ends make whole numbers; a list and `choices` mean the same."""
    path = tmp_path / "space.yaml"
    path.write_text(
        "a.rate: {low: 0.01, high: 0.3, log: true}\n"
        "a.leaves: {low: 8, high: 64, step: 8}\n"
        "a.kind: [x, y]\n"
        "a.other: {choices: [x, y]}\n"
    )
    space = read_space(path)
    assert space["a.rate"] == Range(low=0.01, high=0.3, log=True)
    assert isinstance(space["a.leaves"], Range)
    assert space["a.leaves"].is_whole
    assert space["a.kind"] == space["a.other"] == Choice(choices=('"x"', '"y"'))


def test_every_mistake_of_a_space_file_is_named_with_its_key(tmp_path):
    """Ends the wrong way round, unknown words, logarithms of nothing and text for numbers: all at once."""
    path = tmp_path / "space.yaml"
    path.write_text(
        "a: {low: 3, high: 1}\nb: {low: 1, hihg: 2}\nc: {low: 0, high: 1, log: true}\nd: {low: x, high: 2}\n"
        "e: []\nf: 7\ng: {low: 1.0, high: 2.0, step: 0.0}\nh: {low: 1, high: 9, log: true, step: 2}\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_space(path)
    assert caught.value.exit_code == 2
    said = "\n".join(caught.value.mistakes)
    for words in (
        "a: low 3 is not below high 1",
        "b: hihg: unknown",
        "b: high: missing",
        "c: log needs a low above 0, got 0",
        "d: low: ",
        "e: no values to choose from",
        "f: expected a list of values",
        "g: step: ",
        "h: log and step do not go together",
    ):
        assert words in said


def test_a_missing_space_file_is_not_found(tmp_path):
    """It ends with exit code 5, naming the file."""
    with pytest.raises(NotFoundError, match="no such space file") as caught:
        read_space(tmp_path / "none.yaml")
    assert (caught.value.exit_code, caught.value.where) == (5, str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: {b", "just words"])
def test_a_space_file_without_a_space_is_refused(text, tmp_path):
    """Empty, a list, broken or plain text: exit code 2, and the file is named."""
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_space(path)
    assert caught.value.where == str(path)


def test_an_algorithm_of_ones_own_has_no_default_space():
    """It is said which algorithms have one, and what to do."""
    with pytest.raises(UsageError, match="no default space for Mine") as caught:
        default_space_of(load_config({"model": {"algorithm": "Mine"}}))
    assert "lightgbm" in caught.value.expected
    assert "--space" in caught.value.hint


def test_probes_have_every_value_and_both_ends():
    """As many points as the longest list has values are enough for that."""
    space = {"a": Range(low=1, high=9), "b": Choice(choices=("1", "2", "3"))}
    assert [tuple(probe.values()) for probe in probes_of(space)] == [("1", "1"), ("9", "2"), ("1", "3")]
