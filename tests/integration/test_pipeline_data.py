"""Bad and odd tables, from the file to a model or to a clear word; nothing is left half written."""

import numpy as np
import orjson
import polars as pl
import pytest

from modelbook.pipeline.syncing import sync

HEADER = "area,rooms,town,price\n"
ROWS = "".join(f"{30 + row}.5,{row % 5},Brno,{30000 + 100 * row}\n" for row in range(60))


def snapshot(project):
    """Return what must not change: the registry, the report, the exports and the journal."""
    places = ("models/model_registry", "models/saved_models", "reports/report.html", "logs/runs")
    roots = [project.root / place for place in places]
    files = [path for root in roots for path in (root, *root.rglob("*")) if path.is_file()]
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "case",
    [
        ("", "empty"),
        (HEADER, "the table has no rows"),
        (HEADER + "30.5,2,Brno,30000\n", "data.min_rows asks for 20"),
        ("area,rooms,town\n30.5,2,Brno\n", "price"),
        ("area,town,price\n30.5,Brno,30000\n", "rooms"),
        (HEADER + ROWS.replace(",Brno,", ",Brno,x"), "price"),
        (HEADER + "".join(f"{30 + row}.5,2,Brno,100\n" for row in range(60)), "price"),
        (HEADER + ROWS + "1,2\n3,4,5,6,7,8\n", ""),
        ("\x00\x01\x02" * 50, ""),
        ('area,rooms,town,price\n"30.5,2,Brno,30000\n' + ROWS, ""),
        ("area,area,rooms,town,price\n1,1,2,Brno,30000\n" * 3, "area"),
    ],
    ids=[
        "empty",
        "header only",
        "one row",
        "no target",
        "no feature",
        "text for numbers",
        "constant target",
        "ragged",
        "binary",
        "open quote",
        "one name twice",
    ],
)
def test_a_bad_table_exits_3(project, modelbook, case):
    """A table that cannot be used exits 3 with a word on what it is, and changes nothing that was there."""
    content, said = case
    before = snapshot(project)
    source = project.root / "data/raw/houses.csv"
    good = source.read_bytes()
    source.write_text(content)
    answer = modelbook("-C", project.root, "--json", "run")
    assert answer.code == 3, answer.stderr
    error = orjson.loads(answer.stdout)["error"]
    assert error["exit_code"] == 3
    assert error["next"]
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert snapshot(project) == before
    assert len(project.recorded) == 1
    assert not list(project.root.rglob("*.part"))
    source.write_bytes(good)
    outcome = project.run()
    assert outcome.run_id == project.recorded[0].info.run_id
    assert len(project.recorded) == 1


def test_one_class_exits_3(make_project, tmp_path, modelbook):
    """A classification whose new table has one class left exits 3 and says so."""
    table = "heat,label\n" + "".join(f"{row}.5,{'ab'[row % 2]}\n" for row in range(60))
    project = make_project(tmp_path / "p", table, target="label")
    (project.root / "data/raw/p.csv").write_text(table.replace(",b", ",a"))
    answer = modelbook("-C", project.root, "run", "--no-dvc")
    assert answer.code == 3
    assert "class" in answer.stderr
    assert project.recorded == []


def test_a_few_bad_rows_are_written_aside(project, modelbook):
    """Up to the allowed share, bad rows are counted, written aside with the reason, and the rest is used."""
    source = project.root / "data/raw/houses.csv"
    source.write_text(source.read_text() + "large,2,Brno,51000\n50.0,2,Brno,\n")
    answer = modelbook("-C", project.root, "run")
    assert answer.code == 0
    assert "300 of 302 rows are valid" in answer.stderr
    rejected = pl.read_parquet(project.root / "data/processed/rejected.parquet")
    assert rejected["area"].to_list() == ["large", "50.0"]
    assert rejected["rejected_because"].null_count() == 0
    assert "large" not in answer.stderr


def test_ten_thousand_categories(make_project, tmp_path):
    """A category with thousands of values goes through, encoded by the target's mean."""
    rows = 24_000
    random = np.random.default_rng(1)
    towns = [f"town {number}" for number in random.integers(0, 10_000, rows)]
    table = pl.DataFrame(
        {"area": random.uniform(0, 1, rows), "town": towns, "price": random.uniform(1, 2, rows)}
    )
    project = make_project(tmp_path / "p", table, target="price")
    assert "town" in project.config.features.categorical.columns
    outcome = project.run(use_dvc=False)
    assert outcome.gate.passed


def test_a_category_first_seen_in_test_rows(fresh, plain_mlflow):
    """A category that only test rows have is no error, in the run and afterwards."""
    path = fresh.root / "data/raw/houses.csv"
    lines = path.read_text().splitlines()
    lines[1:] = [
        line.replace("Aachen", f"Aachen {row}").replace("Brno", f"Brno {row}")
        for row, line in enumerate(lines[1:])
    ]
    path.write_text("\n".join(lines) + "\n")
    outcome = fresh.run(use_dvc=False)
    assert outcome.gate.passed
    rows = pl.read_parquet(fresh.root / "data/processed/test.parquet").drop("price").to_pandas()
    assert plain_mlflow(fresh).predict(rows).tolist() == fresh.predictions["predicted"].to_list()


NAMES = ["größe (m²)", "zimmer 'alt'", 'stadt "neu"', "price: net, €"]


def test_names_of_any_kind(make_project, tmp_path, plain_mlflow):
    """Columns, target and folder with blanks, quotes and letters of any language go all the way."""
    table = pl.DataFrame(
        {
            NAMES[0]: [30.0 + row for row in range(80)],
            NAMES[1]: [row % 4 if row % 9 else None for row in range(80)],
            NAMES[2]: ["Köln" if row % 2 else "Łódź, 'x'" for row in range(80)],
            NAMES[3]: [1000.0 + row * 3 for row in range(80)],
        }
    )
    project = make_project(tmp_path / "mein projekt ü" / "häuser & co", table, target=NAMES[3])
    outcome = project.run()
    assert (outcome.gate.passed, outcome.recorded) == (True, "mlflow")
    assert {stage.status for stage in project.run().stages} == {"cached"}
    rows = pl.read_parquet(project.root / "data/processed/test.parquet").drop(NAMES[3]).to_pandas()
    assert plain_mlflow(project).predict(rows).tolist() == project.predictions["predicted"].to_list()


ODD = ["Ticket #", "Any other comments?", "notes//of 5 %/", "area [m²]?", "town?", "price ($)"]
SLICE = "[{column: 'town?', min_rows: 2, thresholds: {rmse: {max: 1000000}}}]"


@pytest.mark.parametrize("place", ["mlflow", "outbox"])
def test_names_that_mlflow_refuses(make_project, tmp_path, free_port, *, place):
    """Names that are no keys to MLflow, in every role, keep no run from its record, direct or delivered.

    A run with one of them among the columns that are left out used to fail after the fit.
    """
    table = pl.DataFrame(
        {
            **{name: [f"{name} of row {row}" for row in range(80)] for name in ODD[:3]},
            ODD[3]: [30.0 + row % 50 for row in range(80)],
            ODD[4]: ["Brno" if row % 2 else "Porto" for row in range(80)],
            ODD[5]: [1000.0 + row % 50 * 3 for row in range(80)],
        }
    )
    project = make_project(tmp_path / "odd", table, target=ODD[5])
    assert set(project.config.features.left_out) == set(ODD[:3])
    (project.root / project.config.data.raw).rename(project.root / "data/raw/odd (1).csv")
    file = "'data/raw/odd (1).csv'"
    project.set({"data.source": file, "data.raw": file, "evaluation.gate.slices": SLICE})
    if place == "outbox":
        project.set({"tracking.uri": f"http://127.0.0.1:{free_port}"})
    outcome = project.run(use_dvc=False)
    assert (outcome.gate.passed, outcome.recorded) == (True, place)
    if place == "outbox":
        project.set({"tracking.uri": "null"})
        assert sync(project.config).error is None
    (run,) = project.recorded
    assert (run.info.status, run.data.params["features.left_out"]) == ("FINISHED", ", ".join(ODD[:3]))
    assert "modelbook.data.data/raw/odd _x28_1_x29_.csv" in run.data.tags
    assert project.versions == [1]


def test_classes_of_any_kind(make_project, tmp_path):
    """Classes with blanks, quotes, markup and letters of any language go all the way."""
    labels = ["<b>ja</b>", "nein, 'danke'"]
    table = pl.DataFrame(
        {"heat": [float(row % 7) for row in range(80)], "antwort ?": [labels[row % 2] for row in range(80)]}
    )
    project = make_project(tmp_path / "p", table, target="antwort ?")
    outcome = project.run(use_dvc=False)
    assert outcome.recorded == "mlflow"
    assert project.metadata.model.classes == tuple(sorted(labels))
    assert "<b>ja</b>" not in (project.root / "reports/report.html").read_text()


@pytest.mark.parametrize(
    "case",
    [
        ("", 3),
        (HEADER, 3),
        ("area,town\n1,x\n2,y\n", 2),
        (HEADER + "1,2,x,5\n" * 30, 3),
    ],
    ids=["empty", "header only", "no target", "constant target"],
)
def test_init_of_a_bad_table_leaves_nothing(tmp_path, modelbook, case):
    """`init` on a table that nothing can be learned from says so and leaves no folder."""
    content, code = case
    source = tmp_path / "table.csv"
    source.write_text(content)
    answer = modelbook("init", tmp_path / "p", "--data", source, "--target", "price")
    assert answer.code == code, answer.stderr
    assert "Traceback" not in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
