"""`modelbook predict` on a project that has run."""

import orjson
import polars as pl
import pytest

from modelbook.files import file_hash


def test_as_in_training(project, modelbook):
    """Predictions on the test rows are, bit for bit, those of the run, whatever names the model."""
    name = project.config.tracking.model_name
    run_id = project.metadata.run_id
    for model in (name, f"{name}/1", f"models:/{name}/1", f"runs:/{run_id}"):
        done = modelbook(
            "-C", project.root, "predict", model, "data/processed/test.parquet", "--output", "out/all.parquet"
        )
        assert done.code == 0, done.stderr
        written = pl.read_parquet(project.root / "out/all.parquet")
        assert written["prediction"].equals(project.predictions["predicted"])


def test_json(project, modelbook):
    """--json prints one document on stdout; progress goes to stderr."""
    name = project.config.tracking.model_name
    words = ["predict", name, "data/processed/test.parquet", "--output", "out.csv"]
    done = modelbook("-C", project.root, "--json", *words)
    document = orjson.loads(done.stdout)
    assert document.pop("seconds") > 0
    assert document == {
        "model": name,
        "version": project.registry[0]["version"],
        "digest": project.metadata.model.digest,
        "rows": len(project.predictions),
        "output": "out.csv",
    }
    assert "rows/s" in done.stderr


def test_raw_file(project, modelbook):
    """The raw CSV file, target and all, is predicted on as it is."""
    raw = project.root / project.config.data.raw
    name = project.config.tracking.model_name
    assert modelbook("-C", project.root, "predict", name, raw, "--output", "out.csv").code == 0
    given, written = pl.read_csv(raw), pl.read_csv(project.root / "out.csv")
    assert written.drop("prediction").equals(given)
    assert written["prediction"].null_count() == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nobody", "data/processed/test.parquet", "--output", "out.csv"), 5, "no such model"),
        (("a/b/c", "data/processed/test.parquet", "--output", "out.csv"), 2, "no reference"),
        (("{name}", "data/processed/test.parquet", "--output", "out.xlsx"), 2, "out.xlsx"),
        (("{name}", "data/processed/test.parquet"), 2, "--output"),
        (("{name}", "absent.csv", "--output", "out.csv"), 3, "absent.csv"),
        (("{name}", "dvc.yaml", "--output", "out.csv"), 2, "dvc.yaml"),
        (
            ("{name}", "data/processed/test.parquet", "--output", "data/processed/test.parquet"),
            2,
            "input itself",
        ),
        (("{name}", "wrong.csv", "--output", "out.csv"), 3, "column 'area', row 2"),
        (("{name}", "short.csv", "--output", "out.csv"), 3, "no 'rooms'"),
    ],
)
def test_refused(project, modelbook, *, arguments: tuple[str, ...], code: int, said: str):
    """Each mistake has its exit code, says where it is, and leaves no output and no part of one."""
    project.write("wrong.csv", "area,rooms,town\n50,2,Porto\nlarge,2,Porto\n")
    project.write("short.csv", "area,town\n50,Porto\n")
    before = {path: file_hash(path) for path in project.root.rglob("*.parquet")}
    words = [word.format(name=project.config.tracking.model_name) for word in arguments]
    done = modelbook("-C", project.root, "predict", *words)
    assert done.code == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "large" not in done.stderr
    assert not list(project.root.glob("*out.csv*"))
    assert {path: file_hash(path) for path in project.root.rglob("*.parquet")} == before


def test_changed_model(project, modelbook):
    """A model whose file was changed is refused with exit code 8."""
    entry = project.registry[0]
    path = project.root / entry["file"]
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    words = ["predict", entry["name"], "data/processed/test.parquet", "--output", "out.csv"]
    done = modelbook("-C", project.root, *words)
    assert done.code == 8
    assert "sha256" in done.stderr
