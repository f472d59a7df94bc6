"""`modelbook predict` on a project that has run."""

import os
import pickle

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


class _Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mknod, (self.mark,)


def own(path):
    """Return a file after giving it bytes of its own, which it may share with other places."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path


def flipped(folder, mark):
    del mark
    path = own(folder / "model.skops")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def pickled(folder, mark):
    own(folder / "model.skops").write_bytes(pickle.dumps(_Bomb(mark)))


def listed_code(folder, mark):
    path = own(min((folder / "code").glob("*.py")))
    path.write_text(f"open({str(mark)!r}, 'w')\n{path.read_text()}")


def other_code(folder, mark):
    (folder / "code/sklearn.py").write_text(f"open({str(mark)!r}, 'w')")


def foreign_loader(folder, mark):
    other_code(folder, mark)
    path = own(folder / "MLmodel")
    path.write_text(path.read_text().replace("loader_module: mlflow.sklearn", "loader_module: sklearn"))


def trusted_types(folder, mark):
    del mark
    path = own(folder / "MLmodel")
    path.write_text(
        path.read_text().replace("skops_trusted_types:", "skops_trusted_types:\n    - operator.call")
    )


CHANGES = [flipped, pickled, listed_code, other_code, foreign_loader, trusted_types]
LOCAL = CHANGES[:4]  # the local registry has no MLmodel


@pytest.mark.parametrize(
    ("reference", "change"),
    [
        *(("{name}/{local}", change) for change in LOCAL),
        *((reference, change) for reference in ("models:/{name}/1", "runs:/{run}") for change in CHANGES),
    ],
)
def test_changed_model(project, modelbook, tmp_path, *, reference, change):
    """A model of which any file was changed is refused with exit code 8, and nothing in it is executed."""
    entry, mark = project.registry[0], tmp_path / "executed"
    words = reference.format(name=entry["name"], local=entry["version"], run=project.metadata.run_id)
    stored = next(project.root.glob("logs/mlruns/*/models/m-*/artifacts"))
    change(stored if ":/" in words else (project.root / entry["file"]).parent, mark)
    done = modelbook(
        "-C", project.root, "predict", words, "data/processed/test.parquet", "--output", "out.csv"
    )
    assert done.code == 8, done.stderr
    assert "Traceback" not in done.stderr
    assert not mark.exists()
    assert not (project.root / "out.csv").exists()
