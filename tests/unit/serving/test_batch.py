"""A file predicted on: whole, in order, exactly as in training, and in bounded memory."""

import gzip
import logging
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import RandomForestRegressor

from modelbook.config import load_config
from modelbook.errors import DataInvalidError, DataReadError, ModelbookError, StorageError, UsageError
from modelbook.logs import PipelineLogger
from modelbook.models.description import describe_inputs
from modelbook.models.package import pack
from modelbook.serving import batch
from modelbook.serving.batch import predict_file

HEADER = "rooms,area,zone,new,built,note\n"
ROW = "3,100,a,yes,2021-03-25,x\n"


@pytest.fixture
def predict(classifier, tmp_path: Path):
    """Return a function that predicts on a file, given its content, and returns what was written."""

    def run(content: str | bytes | pa.Table | pd.DataFrame, name="in.csv", output="out.parquet", **options):
        source, target = tmp_path / name, tmp_path / output
        if isinstance(content, pa.Table):
            pq.write_table(content, source)
        elif isinstance(content, pd.DataFrame):
            content.to_parquet(source)
        else:
            source.write_bytes(content.encode() if isinstance(content, str) else content)
        rows = predict_file(classifier.model, classifier.record, source, output=target, **options)
        is_parquet = target.suffix == ".parquet"
        written = pl.read_parquet(target) if is_parquet else pl.read_csv(target, infer_schema=False)
        assert len(written) == rows
        return written

    return run


@pytest.fixture
def refused(predict, tmp_path: Path):
    """Return a function that expects an error, and sees that no file is left behind."""

    def run(*arguments, error, **options):
        before = {path.name for path in tmp_path.iterdir()}
        with pytest.raises(error) as raised:
            predict(*arguments, **options)
        after = {path.name for path in tmp_path.iterdir()} - before
        assert after <= {arguments[1] if len(arguments) > 1 else "in.csv"}
        return raised.value

    return run


class TestPredictions:
    """The predictions are those of the model itself, to the last bit."""

    @pytest.mark.parametrize("threads", [1, 2])
    def test_exact(self, predict, classifier, *, make_houses, monkeypatch, threads: int):
        """Over several batches and threads each row has the prediction that the trainer makes of it."""
        monkeypatch.setattr(batch, "_BATCH_ROWS", 1000)
        table = make_houses(4321)
        written = predict(table, "in.parquet", threads=threads)
        assert written["prediction"].to_list() == classifier.trainer.predict(table).tolist()
        probabilities = written.select("probability_no", "probability_yes").to_numpy()
        np.testing.assert_array_equal(probabilities, classifier.trainer.predict_proba(table))

    def test_regression(self, regressor, make_houses, tmp_path: Path):
        """A regressor's predictions are float64, with no probabilities beside them."""
        table = make_houses(50)
        table.to_parquet(tmp_path / "in.parquet")
        predict_file(
            regressor.model, regressor.record, tmp_path / "in.parquet", output=tmp_path / "out.parquet"
        )
        written = pl.read_parquet(tmp_path / "out.parquet")
        assert written.columns == [*table.columns, "prediction"]
        np.testing.assert_array_equal(written["prediction"].to_numpy(), regressor.trainer.predict(table))

    def test_text_is_read_as_in_validation(self, predict, make_houses):
        """A CSV file, plain or compressed, TSV and JSON lines give the predictions of the Parquet file."""
        table = make_houses(200)
        expected = predict(table, "in.parquet")["prediction"].to_list()
        csv = table.to_csv(index=False, date_format="%d.%m.%Y").replace("True", "YES")
        tsv = table.to_csv(index=False, sep="\t", na_rep="N/A")
        lines = table.to_json(orient="records", lines=True, date_format="iso")
        assert predict(csv)["prediction"].to_list() == expected
        assert predict(gzip.compress(csv.encode()), "in.csv.gz")["prediction"].to_list() == expected
        assert predict(tsv, "in.tsv")["prediction"].to_list() == expected
        assert predict(lines, "in.jsonl")["prediction"].to_list() == expected

    def test_numbers_in_csv_are_exact(self, predict, make_houses):
        """Probabilities in CSV are written with every digit."""
        table = make_houses(100)
        exact = predict(table, "in.parquet")["probability_yes"].to_list()
        assert [float(text) for text in predict(table, "in.parquet", "out.csv")["probability_yes"]] == exact

    def test_unknown_category(self, predict, classifier):
        """A category that training did not have is handled as the model was trained to."""
        table = classifier.table.head(3).assign(zone=["a", "elsewhere", None])
        assert (
            predict(table, "in.parquet")["prediction"].to_list() == classifier.trainer.predict(table).tolist()
        )

    def test_threads_do_not_disturb_forests(self, tmp_path: Path, make_houses):
        """A model that was left with threads of its own predicts with one, so that sums are the same."""
        table = make_houses(500)[["area"]].fillna(0.0)
        model = RandomForestRegressor(20, random_state=0, n_jobs=2).fit(table, table["area"] ** 2)
        config = {"data": {"target": "y"}, "features": {"numeric": {"columns": ["area"]}}}
        inputs = describe_inputs(model, load_config(config))
        record = pack(
            model, tmp_path, algorithm="forest", task="regression", target="y", inputs=inputs, code=()
        )
        table.to_parquet(tmp_path / "in.parquet")
        predict_file(model, record, tmp_path / "in.parquet", output=tmp_path / "out.parquet", threads=2)
        written = pl.read_parquet(tmp_path / "out.parquet")["prediction"]
        np.testing.assert_array_equal(written.to_numpy(), model.set_params(n_jobs=1).predict(table))


class TestOutput:
    """The output has the input's columns, then the predictions."""

    def test_columns(self, predict):
        """Columns keep their order; prediction and a probability for each class come last."""
        written = predict(HEADER + ROW, output="out.csv")
        added = ["prediction", "probability_no", "probability_yes"]
        assert written.columns == [*HEADER.strip().split(","), *added]

    def test_csv_keeps_text(self, predict):
        """From CSV to CSV every value stays as it was written, odd spelling, quotes and all."""
        row = '4.0,1e2,ü,No,25/03/2021,"a ""b"", c"\n'
        written = predict(HEADER + row, output="out.csv").row(0)
        assert written[:6] == ("4.0", "1e2", "ü", "No", "25/03/2021", 'a "b", c')

    def test_csv_becomes_typed_in_parquet(self, predict):
        """From CSV to Parquet the model's columns have its types; the others are text."""
        written = predict(HEADER + "4.0,1e2,ü,No,25/03/2021,7\n,NA,,n/a,,\n").rows()
        assert written[0][:6] == (4, 100.0, "ü", False, datetime(2021, 3, 25), "7")  # noqa: DTZ001
        assert written[1][:6] == (None,) * 6

    def test_parquet_keeps_types(self, predict, classifier, tmp_path: Path):
        """From Parquet to Parquet every column passes through as it is, to the letter of its type."""
        extra = {
            "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
            "fixed": pa.array([b"ab"], pa.binary(2)),
            "span": pa.array([1], pa.duration("ms")),
            "decimal": pa.array([None], pa.decimal128(5, 2)),
            "sold": pa.array(["yes"]).dictionary_encode(),
            "^weird.*$": pa.array([1], pa.int8()),
            "list": pa.array([["a", None]]),
        }
        given = pa.Table.from_pandas(classifier.table.head(1), preserve_index=False)
        for name, values in extra.items():
            given = given.append_column(name, values)
        predict(given, "in.parquet")
        assert pq.read_table(tmp_path / "out.parquet").select(given.column_names).equals(given)

    def test_pandas_index(self, predict, classifier, tmp_path: Path):
        """A table that pandas wrote is read by pandas with its index."""
        predict(classifier.table.iloc[[3, 1]], "in.parquet")
        assert pd.read_parquet(tmp_path / "out.parquet").index.tolist() == [3, 1]

    @pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
    @pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
    def test_empty(self, predict, classifier, *, name: str, output: str):
        """A table without rows gives one without rows, with all its columns."""
        content = HEADER if name == "in.csv" else classifier.table.head(0)
        written = predict(content, name, output)
        assert written.is_empty()
        assert written.columns[-3:] == ["prediction", "probability_no", "probability_yes"]
        if output == "out.parquet":
            assert written.dtypes[-3:] == [pl.String, pl.Float64, pl.Float64]

    def test_row_groups(self, predict, make_houses, *, monkeypatch, tmp_path: Path):
        """Batches are gathered into row groups of a size that readers like."""
        monkeypatch.setattr(batch, "_BATCH_ROWS", 1000)
        predict(make_houses(5500), "in.parquet")
        assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 1

    @pytest.mark.parametrize("name", ["tags", "raw", "span"])
    def test_no_place_in_csv(self, refused, classifier, name: str):
        """A column that CSV cannot hold is named, before anything is written."""
        values = {"tags": [["a"]], "raw": [b"a"], "span": [pd.Timedelta(1)]}
        table = classifier.table.head(1).assign(**{name: values[name]})
        error = refused(table, "in.parquet", "out.csv", error=UsageError)
        assert repr(name) in error.got


def test_a_name_that_is_taken(predict):
    """A column of the table keeps its name, and the predictions go beside it under another."""
    written = predict(HEADER.replace("note", "prediction") + ROW)
    assert written["prediction"].to_list() == ["x"]
    assert written["prediction_2"].null_count() == 0
    assert "probability_no" in written.columns


class TestInvalid:
    """A table that the model does not take is refused with exit code 3, and never quoted."""

    @pytest.mark.parametrize(
        ("row", "column", "expected"),
        [
            ("3.5,100,a,yes,2021-03-25,x", "rooms", "whole number"),
            ("3,sECRet,a,yes,2021-03-25,x", "area", "number"),
            ("3,100,a,sECRet,2021-03-25,x", "new", "true or false"),
            ("3,100,a,yes,sECRet,x", "built", "date or time"),
            ("3,100,a,yes,03/04/2021,x", "built", "date or time"),
        ],
        ids=["fraction", "text", "no truth", "no date", "day or month first"],
    )
    def test_wrong_value(self, refused, monkeypatch, *, row: str, column: str, expected: str):
        """The column, the row counted from 1 and the expected type are named; the value is not."""
        monkeypatch.setattr(batch, "_BATCH_ROWS", 2)
        error = refused(HEADER + ROW * 4 + f"{row}\n" + ROW, error=DataInvalidError, threads=2)
        assert f"column {column!r}, row 5" in error.where
        assert expected in error.expected
        assert "sECRet" not in str(error)
        assert error.exit_code == 3

    def test_first_of_several(self, refused, monkeypatch):
        """Of several wrong values the first is named, however many threads are at work."""
        monkeypatch.setattr(batch, "_BATCH_ROWS", 2)
        error = refused(HEADER + ROW * 3 + ROW.replace("100", "x") * 20, error=DataInvalidError, threads=2)
        assert "row 4" in error.where

    def test_wrong_dtype(self, refused, classifier):
        """A Parquet column of another kind is refused by its first value."""
        table = classifier.table.head(2).assign(built=[1, 2])
        assert "column 'built', row 1" in refused(table, "in.parquet", error=DataInvalidError).where

    def test_missing_column(self, refused):
        """A missing column is named, and so are those with a name like it."""
        error = refused("Rooms,are,zone,new,built\n1,2,a,no,\n", error=DataInvalidError)
        assert "no 'rooms', 'area' among" in error.got
        assert "'area': did you mean 'are'?" in error.hint

    def test_duplicate_columns(self, refused):
        """Two columns of one name are refused."""
        assert "note" in refused(HEADER.replace("area", "note") + ROW, error=DataInvalidError).got

    def test_model_fails(self, classifier, tmp_path: Path):
        """What a model says when it fails is not repeated, as it may quote rows."""

        class Picky:
            def __init__(self, error: Exception) -> None:
                self.error = error

            def predict(self, _):
                raise self.error

        (tmp_path / "in.csv").write_text(HEADER + ROW)
        record = classifier.record.model_copy(update={"task": "regression"})
        for cause, error in ((ValueError, DataInvalidError), (RuntimeError, ModelbookError)):
            with pytest.raises(error, match="model") as raised:
                predict_file(Picky(cause("sECRet")), record, tmp_path / "in.csv", output=tmp_path / "out.csv")
            assert "sECRet" not in str(raised.value)
            assert "rows 1 to 1" in str(raised.value)
            assert type(raised.value) is error


class TestUnreadable:
    """A file that is not what its name says is refused with exit code 3."""

    @pytest.mark.parametrize(
        ("content", "name"),
        [
            (b"", "in.csv"),
            (b"PAR1 and nothing else", "in.parquet"),
            (gzip.compress((HEADER + ROW * 1000).encode())[:-20], "in.csv.gz"),
            ((HEADER + ROW + ROW.strip() + ",y,z\n").encode(), "in.csv"),
            ((HEADER + ROW).encode() + b"3,1,\xe9,yes,,\n", "in.csv"),
            (b'{"rooms": 1}\n{"rooms', "in.jsonl"),
        ],
        ids=["empty", "no Parquet", "cut off", "ragged", "Latin-1", "half a line"],
    )
    def test_damaged(self, refused, content: bytes, name: str):
        """What is wrong is said, and nothing is written."""
        assert refused(content, name, error=DataReadError).exit_code == 3

    def test_damaged_later(self, refused, make_houses, tmp_path: Path):
        """A Parquet file with a sound footer and a damaged middle is noticed when its rows are read."""
        make_houses(1000).to_parquet(tmp_path / "sound.parquet", compression=None)
        content = bytearray((tmp_path / "sound.parquet").read_bytes())
        content[4:200] = b"\xff" * 196
        assert "damaged" in refused(bytes(content), "in.parquet", error=DataReadError).what

    def test_absent(self, classifier, tmp_path: Path):
        """A file that is not there is named."""
        with pytest.raises(DataReadError, match="no such file"):
            predict_file(
                classifier.model, classifier.record, tmp_path / "no.csv", output=tmp_path / "out.csv"
            )


class TestFiles:
    """Files are told by name, and the output is whole or as it was."""

    @pytest.mark.parametrize("output", ["out.txt", "out", "out.csv.gz", "out.xlsx"])
    def test_unknown_output(self, refused, output: str):
        """An output whose name says no format is a mistake in the call."""
        error = refused(HEADER, output=output, error=UsageError)
        assert error.exit_code == 2
        assert ".csv or .parquet" in error.expected

    def test_unknown_input(self, refused):
        """So is such an input."""
        assert refused(b"x", "in.xls", error=UsageError).exit_code == 2

    def test_folder(self, refused, tmp_path: Path):
        """An output that is a folder is refused."""
        (tmp_path / "out.csv").mkdir()
        assert "folder" in refused(HEADER, output="out.csv", error=UsageError).what

    def test_same_file(self, refused):
        """An output that is the input is refused."""
        assert "input itself" in refused(HEADER + ROW, output="in.csv", error=UsageError).what

    def test_same_file_by_another_name(self, predict, tmp_path: Path):
        """So it is by way of a link, and the input is as it was."""
        (tmp_path / "in.csv").write_text(HEADER + ROW)
        (tmp_path / "out.csv").symlink_to(tmp_path / "in.csv")
        with pytest.raises(UsageError, match="input itself"):
            predict(HEADER + ROW, output="out.csv")
        assert (tmp_path / "in.csv").read_text() == HEADER + ROW

    def test_former_output_stays(self, refused, tmp_path: Path):
        """An output of before is as it was when a row far down cannot be predicted."""
        (tmp_path / "out.csv").write_text("before")
        refused(HEADER + ROW * 40_000 + "x,,,,,\n", output="out.csv", error=DataInvalidError)
        assert (tmp_path / "out.csv").read_text() == "before"

    @pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
    def test_disk_full(self, classifier, make_houses, *, small_disk: Path, tmp_path: Path, output: str):
        """A full disk is said to be one, and nothing is left on it."""
        random = np.random.default_rng(0).random((40_000, 4))
        table = make_houses(40_000).assign(**{f"extra{at}": random[:, at] for at in range(4)})
        table.to_parquet(tmp_path / "in.parquet")
        with pytest.raises(StorageError, match="cannot be written") as raised:
            predict_file(
                classifier.model, classifier.record, tmp_path / "in.parquet", output=small_disk / output
            )
        assert "space" in raised.value.got
        assert not list(small_disk.iterdir())

    def test_makes_folders(self, classifier, tmp_path: Path):
        """Folders on the way to the output are made."""
        (tmp_path / "in.csv").write_text(HEADER + ROW)
        output = tmp_path / "a" / "b" / "out.csv"
        predict_file(classifier.model, classifier.record, tmp_path / "in.csv", output=output)
        assert output.is_file()


@pytest.fixture
def small_disk(tmp_path: Path):
    """Return a file system of 1 MB, for tests that are run as root."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_progress(predict, make_houses, *, monkeypatch, caplog):
    """How far it is, and how fast, is said every five seconds and at the end."""
    monkeypatch.setattr(batch, "_BATCH_ROWS", 100)
    ticks = iter(range(0, 10_000, 2))
    caplog.set_level(logging.INFO, logger="modelbook")
    predict(make_houses(1000), "in.parquet", log=PipelineLogger("predict"), clock=lambda: next(ticks))
    lines = [line for line in caplog.messages if "rows/s" in line]
    assert lines[-1].startswith("1,000 rows, ")
    assert len(lines) > 2


def test_unexpected_gaps(predict, caplog):
    """Missing values where training had none are filled as the model does, counted and mentioned."""
    predict(HEADER + ROW + ROW.replace("100", ""))
    assert "area: no value in 1 of the rows" in caplog.text


@pytest.mark.slow
def test_memory(tmp_path: Path):
    """Memory does not grow with the rows: 180 MB more of them take less than 90 MB more."""
    peaks = [_peak_mb(tmp_path, rows) for rows in (200_000, 3_000_000)]
    assert peaks[1] - peaks[0] < 90


PREDICT_DOUBLES = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from modelbook.records import InputColumn, ModelRecord
from modelbook.serving.batch import predict_file

class Echo:
    def predict(self, X):
        return X["a"].to_numpy()

folder, rows = Path(sys.argv[1]), int(sys.argv[2])
columns = (InputColumn(name="a", type="float", nullable=True),)
record = ModelRecord.model_construct(task="regression", classes=(), inputs=columns)
schema = pa.schema([(name, pa.float64()) for name in "abcdefgh"])
with pq.ParquetWriter(folder / "in.parquet", schema) as writer:
    for _ in range(rows // 50_000):
        writer.write_table(pa.table({name: np.random.random(50_000) for name in "abcdefgh"}))
predict_file(Echo(), record, folder / "in.parquet", output=folder / "out.parquet", threads=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def _peak_mb(folder: Path, rows: int) -> float:
    """Predict in a process of its own and return the most memory that it held."""
    done = subprocess.run(
        [sys.executable, "-c", PREDICT_DOUBLES, str(folder), str(rows)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)
