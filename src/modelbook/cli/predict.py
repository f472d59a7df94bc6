"""The command `predict`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from modelbook.cli.console import Console


def predict(
    context: typer.Context,
    ref: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="NAME, NAME/VERSION, NAME@ALIAS, models:/… or runs:/RUN_ID."),
    ],
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A CSV, TSV or JSON lines file (also .gz), or Parquet.")
    ],
    *,
    output: Annotated[Path, typer.Option(metavar="FILE", help="Where to: .csv or .parquet.")],
) -> None:
    """Predict on a table of any size: write it again with the predictions beside its rows."""
    from modelbook.config import load_config
    from modelbook.serving.batch import predict_with

    console: Console = context.obj
    start = time.monotonic()
    done = predict_with(ref, source, output=output, config=load_config(Path.cwd()))
    seconds = round(time.monotonic() - start, 3)
    console.document(done.model_dump(mode="json") | {"seconds": seconds})
    version = f" {done.version}" if done.version else ""
    console.line(
        f"{done.rows} rows predicted by {done.model}{version} in {seconds:.1f} s: {console.path(done.output)}"
    )
