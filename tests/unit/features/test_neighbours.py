"""Facts about what a place says of a row."""

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone

from modelbook.features import neighbours
from modelbook.features.neighbours import Geography, NeighbourTargetError
from modelbook.models.digest import model_digest

KM = neighbours._KM_PER_DEGREE
NAN = float("nan")


def table(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"latitude": rng.uniform(50, 52, rows), "longitude": rng.uniform(5, 8, rows)})


def near(row, places, count):
    """The nearest rows by a great circle, worked out one by one."""
    lat, lon, here, there = (
        np.radians(values)
        for values in (places["latitude"], places["longitude"], row["latitude"], row["longitude"])
    )
    angles = np.sin((lat - here) / 2) ** 2 + np.cos(lat) * np.cos(here) * np.sin((lon - there) / 2) ** 2
    return np.argsort(angles.to_numpy(), kind="stable")[:count]


def test_a_new_row_has_the_weighted_mean_of_the_nearest_rows():
    """Near rows weigh more; the one nearest row is the one of the great circle."""
    X, y = table(), np.arange(200.0)
    learned = Geography(neighbours=(1, 3)).fit(X, y)
    new = table(20, seed=1)
    made = learned.transform(new)
    assert list(made.columns) == ["latitude", "longitude", "near_1_target", "near_3_target"]
    np.testing.assert_allclose(made["near_1_target"], [y[near(row, X, 1)[0]] for _, row in new.iterrows()])
    flat, _ = learned._flat(new)
    for at, row in enumerate(flat):
        distances = np.hypot(*(learned.places_ - row).T)
        nearest = np.argsort(distances)[:3]
        weights = 1 / (distances[nearest] + learned.scale_)
        assert made["near_3_target"].iloc[at] == pytest.approx(np.average(y[nearest], weights=weights))


def test_distances_are_kilometres():
    """A degree north is a degree of the earth; a degree east is shorter by the cosine of the latitude."""
    X = pd.DataFrame({"latitude": [60.0, 60.0, 61.0, 59.0], "longitude": [5.0, 6.0, 5.5, 5.5]})
    flat, has_place = Geography(rotations=(0,)).fit(X)._flat(X)
    assert has_place.all()
    assert flat[1, 0] - flat[0, 0] == pytest.approx(KM / 2)
    assert flat[2, 1] - flat[3, 1] == pytest.approx(2 * KM)


def test_the_date_line_parts_nobody():
    """Rows on both of its sides are near each other."""
    X = pd.DataFrame({"latitude": [0.0] * 4, "longitude": [179.9, -179.9, 170.0, -170.0]})
    learned = Geography(neighbours=(1,)).fit(X, np.array([1.0, 2.0, 3.0, 4.0]))
    new = pd.DataFrame({"latitude": [0.0, 0.0], "longitude": [-179.99, 179.99]})
    made = learned.transform(new)["near_1_target"]
    np.testing.assert_allclose(made, [2.0, 1.0])
    flat, _ = learned._flat(new)
    assert abs(flat[0, 0] - flat[1, 0]) == pytest.approx(0.02 * KM)


def test_a_training_row_does_not_know_its_own_target():
    """Changing one row's target changes other rows' means, never its own."""
    X, y = table(), np.arange(200.0)
    changed = y.copy()
    changed[17] = 1e6
    before = Geography(neighbours=(1, 5), seed=3).fit_transform(X, y)
    after = Geography(neighbours=(1, 5), seed=3).fit_transform(X, changed)
    names = ["near_1_target", "near_5_target"]
    assert before.loc[17, names].equals(after.loc[17, names])
    assert not before[names].equals(after[names])


def test_rows_of_one_fold_do_not_know_each_other():
    """Two rows in one place, held out together, are both told by the others alone."""
    X = pd.DataFrame({"latitude": [50.0, 50.0, 51.0], "longitude": [5.0, 5.0, 6.0]})
    made = Geography(neighbours=(2,)).fit_transform(X, np.array([1.0, 2.0, 3.0]))
    assert made["near_2_target"].iloc[2] == pytest.approx(1.5)


def test_classes_have_shares():
    """With two classes the last one's share is a feature, with more each one's."""
    X = table()
    three = np.array(["a", "b", "c", "b"] * 50, dtype=object)
    made = Geography(neighbours=(8,), task="classification").fit_transform(X, three)
    shares = made[["near_8_a", "near_8_b", "near_8_c"]]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    two = Geography(neighbours=(8,), task="classification").fit(X, np.array([True, False] * 100))
    assert list(two.get_feature_names_out()) == ["latitude", "longitude", "near_8_True"]


def test_other_columns_are_averaged_too():
    """Their gaps count as the median of training rows."""
    X = table().assign(income=np.where(np.arange(200) % 4 == 0, NAN, 7.0))
    made = Geography(neighbours=(4,), columns=("income",)).fit_transform(X, np.zeros(200))
    np.testing.assert_allclose(made["near_4_income"], 7.0)


def test_a_row_without_a_place_has_no_features_of_it():
    """It is neither told nor does it tell others."""
    X, y = table(), np.ones(200)
    X.loc[3, "latitude"] = NAN
    X.loc[4, "longitude"] = NAN
    y[[3, 4]] = 1e9
    step = Geography(neighbours=(5,), clusters=2, rotations=(45,))
    made = step.fit_transform(X, y)
    features = list(made.columns[2:])
    assert made.loc[[3, 4], features].isna().all(axis=None)
    assert made.drop(index=[3, 4])[features].notna().all(axis=None)
    assert made["near_5_target"].max() == pytest.approx(1)
    assert step.transform(X.loc[[3]])[features].isna().all(axis=None)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_rows_do(rows):
    """More neighbours and centres than rows are as many as there are."""
    X = table(rows)
    step = Geography(neighbours=(30,), clusters=10).fit(X, np.arange(float(rows)))
    assert np.isfinite(step.transform(table(3, seed=1)).to_numpy()).all()


def test_no_row_with_a_place():
    """Training rows that are nowhere make features that are missing everywhere."""
    X = pd.DataFrame({"latitude": [NAN, NAN], "longitude": [1.0, NAN]})
    step = Geography(neighbours=(3,), clusters=2, rotations=(30,))
    step.fit(X, np.zeros(2))
    made = step.transform(table(3))
    assert made["near_3_target"].isna().all()
    assert "distance_to_centre_1" not in made


def test_all_rows_in_one_place():
    """They count alike."""
    X = pd.DataFrame({"latitude": [50.0] * 4, "longitude": [5.0] * 4})
    made = Geography(neighbours=(4,), clusters=3).fit(X, np.arange(4.0)).transform(X)
    np.testing.assert_allclose(made["near_4_target"], 1.5)
    np.testing.assert_allclose(made["distance_to_centre_1"], 0, atol=1e-9)


def test_centres_are_where_rows_are():
    """Each of two far groups has one."""
    X = pd.concat([table(50) / 100, table(50) / 100 + 3], ignore_index=True)
    made = Geography(clusters=2, seed=1).fit(X).transform(X)
    distances = made[["distance_to_centre_1", "distance_to_centre_2"]].to_numpy()
    assert distances.min(axis=1).max() < 10
    assert (distances.argmin(axis=1)[:50] != distances.argmin(axis=1)[50:]).all()


def test_a_turned_axis():
    """Turned by 90 degrees, east is north."""
    X = table()
    step = Geography(rotations=(0, 90)).fit(X)
    flat, _ = step._flat(X)
    made = step.transform(X)
    np.testing.assert_allclose(made[["axis_0_degrees", "axis_90_degrees"]], flat, atol=1e-9)


def test_chunks_and_threads_do_not_show(monkeypatch):
    """Rows one by one, in chunks and with threads have the same bytes."""
    X, y = table(), np.random.default_rng(1).normal(size=200)
    step = Geography(neighbours=(3, 20), columns=("latitude",), clusters=3, rotations=(30,)).fit(X, y)
    whole = step.transform(X).to_numpy()
    alone = np.vstack([step.transform(X.iloc[[at]]).to_numpy() for at in range(len(X))])
    monkeypatch.setattr(neighbours, "_CHUNK_ROWS", 7)
    chunked = step.set_params(n_jobs=2).transform(X).to_numpy()
    assert whole.tobytes() == alone.tobytes() == chunked.tobytes()
    again = clone(step).fit_transform(X, y).to_numpy()
    assert again.tobytes() == clone(step).set_params(n_jobs=1).fit_transform(X, y).to_numpy().tobytes()


def test_it_is_stored_without_its_search_tree():
    """What skops reads back holds arrays alone, has the same digest and gives the same features."""
    X, y = table(), np.arange(200.0)
    step = Geography(neighbours=(3,), clusters=2, rotations=(30,)).fit(X, y)
    before = step.transform(X)
    trusted = ["modelbook.features.neighbours.Geography"]
    loaded = skops.io.loads(skops.io.dumps(step), trusted=trusted)
    assert "_tree" not in vars(loaded)
    assert model_digest(loaded) == model_digest(step) == model_digest(clone(step).fit(X, y))
    pd.testing.assert_frame_equal(loaded.transform(X), before)
    assert model_digest(loaded) == model_digest(step)


def test_neighbours_need_a_target():
    """Centres and axes do not."""
    with pytest.raises(NeighbourTargetError, match="needs the target"):
        Geography(neighbours=(3,)).fit(table())
    Geography(clusters=2, rotations=(45,)).fit(table())
