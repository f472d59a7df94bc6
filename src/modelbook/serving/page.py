"""The page at /docs: what the model takes and says, to be read and tried; nothing is fetched for it."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from modelbook.serving.current import Serving
from modelbook.serving.manifest import ServedColumn
from modelbook.serving.schema import example_of, served_columns

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;vertical-align:top}
th{border-bottom:1px solid #888}td{border-bottom:1px solid #ddd;overflow-wrap:anywhere}
textarea,pre,input{font:14px/1.4 ui-monospace,monospace;width:100%;box-sizing:border-box}
textarea{height:12rem}pre{background:#f3f4f6;padding:.8rem;white-space:pre-wrap;min-height:1.4rem}
"""
_SCRIPT = """
document.getElementById("ask").addEventListener("click", async () => {
  const headers = {"Content-Type": "application/json"};
  const key = document.getElementById("key").value;
  if (key) headers["Authorization"] = "Bearer " + key;
  const body = document.getElementById("body").value;
  const answer = await fetch("invocations", {method: "POST", headers, body});
  const version = answer.headers.get("X-Modelbook-Version");
  document.getElementById("answer").textContent =
    answer.status + ", version " + version + "\\n" + await answer.text();
});
"""


def as_page(serving: Serving | None) -> str:
    """Return the page of a server that answers by a version; None is one without any yet.

    Example:
        >>> "There is no model yet." in as_page(None)
        True
    """
    if serving is None:
        return _frame("Modelbook", "<p>There is no model yet.</p>")
    columns = served_columns(serving)
    record = serving.runtime.record
    says = f"one of {', '.join(map(str, record.classes))}" if record.classes else "a number"
    target = escape(str(getattr(record, "target", "") or "the target"))
    whole = 'The whole description is in <a href="openapi.json">openapi.json</a>.'
    about = f"<p>Version {escape(serving.version)} says {escape(says)} for <em>{target}</em>. {whole}</p>"
    form = _form({"dataframe_records": [{column.name: example_of(column) for column in columns}]})
    return _frame(f"{serving.name}, served by Modelbook", about + _table(columns) + form)


def _frame(title: str, content: str) -> str:
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    view = '<meta name="viewport" content="width=device-width">'
    return (
        f'<!doctype html><html lang="en"><head>{head}{view}</head>'
        f"<body><h1>{escape(title)}</h1>{content}</body></html>"
    )


def _table(columns: Sequence[ServedColumn]) -> str:
    rows = "".join(
        f"<tr><td>{escape(column.name)}</td><td>{column.type}</td><td>{escape(_known(column))}</td>"
        f"<td>{escape(json.dumps(example_of(column), ensure_ascii=False))}</td></tr>"
        for column in columns
    )
    return f"<table><tr><th>column</th><th>type</th><th>in training</th><th>example</th></tr>{rows}</table>"


def _known(column: ServedColumn) -> str:
    words = [] if column.nullable else ["never missing"]
    if column.min is not None and column.max is not None:
        words.append(f"{column.min:g} to {column.max:g}")
    if column.categories is not None:
        words.append(", ".join(column.categories))
    return "; ".join(words)


def _form(body: dict[str, Any]) -> str:
    example = escape(json.dumps(body, indent=2, ensure_ascii=False))
    return (
        f'<h2>Try it</h2><p><textarea id="body" aria-label="Rows" spellcheck="false">{example}</textarea></p>'
        '<p><input id="key" type="password" placeholder="API key, if one is needed" aria-label="API key"></p>'
        '<p><button id="ask">POST /invocations</button></p><pre id="answer" aria-live="polite"></pre>'
        f"<script>{_SCRIPT}</script>"
    )
