"""The command `serve`, before it serves."""

import json

import pytest

from modelbook.config import load_config
from modelbook.serving.keys import hash_of


def test_a_key_is_made(modelbook) -> None:
    """A key is shown once, with the hash that the configuration takes."""
    made = json.loads(modelbook("--json", "serve", "--new-key").stdout)
    assert hash_of(made["key"]) == made["hash"]
    assert load_config({"serving": {"api_keys": {"ann": made["hash"]}}}).serving.api_keys == {
        "ann": made["hash"]
    }
    shown = modelbook("serve", "--new-key")
    assert "mb_" in shown.stdout
    assert "serving.api_keys" in shown.stderr
    assert made["key"] not in shown.stdout


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "models.example"])  # noqa: S104 (nothing listens)
def test_others_need_keys(new_project, modelbook, host) -> None:
    """A server that anybody could ask does not begin."""
    answer = modelbook("-C", new_project.root, "serve", "--host", host)
    assert answer.code == 2
    assert "without API keys a server listens to this machine alone" in answer.stderr
    assert "--new-key" in answer.stderr


@pytest.mark.parametrize("words", [["--port", "70000"], ["--workers", "0"], ["--port", "x"]])
def test_options_are_checked(new_project, modelbook, words) -> None:
    """What is no port and no number of processes is refused as words of the command are."""
    assert modelbook("-C", new_project.root, "serve", *words).code == 2
