"""The command `serve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelbook.cli.console import Console

if TYPE_CHECKING:
    from modelbook.config import Config


def serve(
    context: typer.Context,
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="NAME for what is in production, NAME@ALIAS or NAME/VERSION; tracking.model_name without.",
            show_default=False,
        ),
    ] = None,
    *,
    host: Annotated[str | None, typer.Option(help="The address to listen at; serving.host without.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Its port, 0 for any; serving.port without.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that answer; serving.workers without.")
    ] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Print a new API key and its hash.")] = False,
) -> None:
    """Answer predictions over HTTP by the model that the registry names, and follow it."""
    console: Console = context.obj
    if new_key:
        _print_key(console)
        return
    _serve(console, ref, host=host, port=port, workers=workers)


def _serve(console: Console, ref: str | None, **options: str | int | None) -> None:
    from modelbook.config import CONFIG_PATH, ConfigLike, load_config
    from modelbook.serving.address import check_address
    from modelbook.serving.app import make_app
    from modelbook.serving.server import serve as serve_model

    # A server of its own needs no project: MLFLOW_TRACKING_URI says where the registry is.
    source: ConfigLike = Path.cwd() if CONFIG_PATH.is_file() else {}
    config = _with_options(load_config(source), options)
    check_address(config.serving)

    def tell(wanted: object, address: str) -> None:
        name, version = getattr(wanted, "name", ""), getattr(wanted, "version", "")
        console.document({"address": address, "model": {"name": name, "version": version}})
        console.line(f"{name}/{version} answers at {address}/invocations, described at {address}/docs")

    serve_model(ref or config.tracking.model_name, config=config, make_app=make_app, told=tell)


def _with_options(config: "Config", options: dict[str, str | int | None]) -> "Config":
    given = {name: value for name, value in options.items() if value is not None}
    return config.model_copy(update={"serving": config.serving.model_copy(update=given)})


def _print_key(console: Console) -> None:
    from modelbook.serving.keys import hash_of, new_key

    key = new_key()
    console.document({"key": key, "hash": hash_of(key)})
    console.line(f"key:  {key}")
    console.line(f"hash: {hash_of(key)}")
    console.note("give the key to whoever asks for predictions; write the hash into config.yaml:")
    console.note(f'  serving.api_keys: {{NAME: "{hash_of(key)}"}}')
