"""Facts about the settings of made features."""

import pytest

from modelbook.config import load_config
from modelbook.errors import ConfigError

PLACE = {"latitude": "lat", "longitude": "lon"}


def settings(**features):
    roles = {"numeric": {"columns": ["lat", "lon", "a"]}, "categorical": {"columns": ["t"]}}
    return {"features": roles | features}


@pytest.mark.parametrize(
    ("features", "mistake"),
    [
        (
            {"geography": PLACE | {"latitude": "north"}},
            "features.geography.latitude: 'north' is no number column of features.numeric.columns",
        ),
        (
            {"geography": PLACE | {"longitude": "t"}},
            "features.geography.longitude: 't' is no number column of features.numeric.columns",
        ),
        (
            {"geography": PLACE | {"columns": ["t"]}},
            "features.geography.columns: 't' is no number column of features.numeric.columns",
        ),
        ({"geography": {"latitude": "lat"}}, "features.geography.longitude: missing"),
        (
            {"geography": PLACE | {"neighbours": []}},
            "features.geography: nothing is made of the place: give neighbours, clusters or rotations",
        ),
        (
            {"geography": PLACE | {"neighbours": [], "clusters": 3, "columns": ["a"]}},
            "features.geography: columns are averaged over neighbours: give neighbours too",
        ),
        ({"geography": PLACE | {"neighbours": [3, 3]}}, "features.geography: neighbours names one twice"),
        (
            {"geography": PLACE | {"neighbours": [0]}},
            "features.geography.neighbours.0: input should be greater than or equal to 1, got 0",
        ),
        ({"geography": PLACE | {"neighbors": [3]}}, "features.geography.neighbors: unknown key"),
        (
            {"interactions": [{"product": ["a", "t"]}]},
            "features.interactions.0.product: 't' is no number column of features.numeric.columns",
        ),
        (
            {"interactions": [{"product": ["a", "lat"], "sum": ["a", "lat"]}]},
            "features.interactions.0: an interaction needs one of product, difference and sum",
        ),
        (
            {"curves": {"log": ["b"]}},
            "features.curves.log: 'b' is no number column of features.numeric.columns",
        ),
        (
            {"counts": ["a", "z"]},
            "features.counts.1: 'z' is no column of features.numeric, categorical or boolean",
        ),
    ],
)
def test_mistakes_have_paths(features, mistake):
    """Each says where it is and what is expected."""
    with pytest.raises(ConfigError) as caught:
        load_config(settings(**features))
    assert caught.value.exit_code == 2
    assert caught.value.mistakes == (mistake,)


def test_a_text_column_has_no_latitude():
    """The schema's type counts, where there is a schema."""
    schema = {name: {"type": "float"} for name in ("lon", "a")} | {
        "lat": {"type": "string"},
        "t": {"type": "string"},
    }
    with pytest.raises(ConfigError) as caught:
        load_config(settings(geography=PLACE) | {"data": {"schema": schema}})
    assert caught.value.mistakes == (
        "features.geography.latitude: 'lat' is a string column of data.schema, not a number",
    )


def test_what_is_made_is_read():
    """Terms come as operation and columns, whatever they are called in YAML."""
    features = load_config(
        settings(
            interactions=[{"difference": ["a", "lat"]}],
            counts=["t", "a"],
            geography=PLACE | {"neighbours": [3, 10], "rotations": [45]},
        )
    ).features
    assert features.interactions[0].term == ("difference", "a", "lat")
    assert features.geography.rotations == (45,)
