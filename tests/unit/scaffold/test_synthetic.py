from polars.testing import assert_frame_equal
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from modelbook.scaffold.synthetic import draw_machines

NUMBERS = ["temperature_c", "vibration_mm_s", "pressure_bar", "current_a", "hours_since_service"]
TEXTS = ["machine_type", "site"]


def test_same_every_time():
    """The table is the same whenever it is drawn."""
    assert_frame_equal(draw_machines(), draw_machines())


def test_shape_and_gaps():
    """A thousand rows, five numbers, two categories, two classes, and gaps in features alone."""
    table = draw_machines()
    assert table.columns == [*NUMBERS, *TEXTS, "failed"]
    assert table.height == 1000
    assert table["failed"].value_counts().height == 2
    gaps = {name: count for name, count in table.null_count().row(0, named=True).items() if count}
    assert set(gaps) == {"vibration_mm_s", "current_a", "site"}


def test_learnable():
    """A forest of 100 trees, ten deep, classifies 99 % of a stratified fifth."""
    table = draw_machines().to_pandas()
    features = make_column_transformer(
        (SimpleImputer(strategy="median"), NUMBERS), (OneHotEncoder(handle_unknown="ignore"), TEXTS)
    )
    model = make_pipeline(features, RandomForestClassifier(100, max_depth=10, random_state=42))
    target = table.pop("failed")
    train, test, y_train, y_test = train_test_split(
        table, target, test_size=0.2, stratify=target, random_state=42
    )
    assert model.fit(train, y_train).score(test, y_test) >= 0.99


def test_no_column_tells_all():
    """No single column classifies more than 95 % of the rows."""
    table = draw_machines().to_pandas()
    for name in NUMBERS:
        known = table[[name, "failed"]].dropna()
        tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(known[[name]], known["failed"])
        assert tree.score(known[[name]], known["failed"]) < 0.95
