"""Describes the interface from its routes: as OpenAPI for programs, and as a page that needs nothing from elsewhere."""

from __future__ import annotations

import html
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from steps.serving.access import ADMIN, ANYBODY
from steps.serving.asgi import JSON, Route, Text
from steps.serving.messages import Refusal

SCHEMAS = "#/components/schemas/{name}"
REFUSALS = {
    401: "no token, or none that is known",
    403: "a token that does not allow this",
    404: "no such user, item or file",
    409: "as things are now this cannot be done, and why",
    422: "a question that cannot be answered, and why",
    429: "more than this client may ask",
    501: "the model that is live cannot tell",
    503: "no model answers yet, or too much is being asked",
}


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """The interface as an OpenAPI document."""
    types = [one for route in routes for one in (route.body, *_kinds(route.answer)) if one and not isinstance(one, str)]
    _, schemas = msgspec.json.schema_components([*types, Refusal], ref_template=SCHEMAS)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path + "/".join(f"{{{name}}}" for name in route.rest)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Recommender",
            "version": "1",
            "description": "What the shop's site talks to. Every answer names the release that gave it.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    summary, _, more = inspect.cleandoc(route.handler.__doc__ or "").partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": " ".join(summary.split()),
        "description": " ".join(more.split()) or None,
        "parameters": list(_parameters(route)),
        "responses": {"200": {"description": "the answer", "content": _content(route.answer)}, **_refusals(route)},
        "security": _security(route.access),
    }
    if route.body:
        operation["requestBody"] = {"required": True, "content": _content(route.body)}
    return {key: value for key, value in operation.items() if value is not None}


def _security(access: str) -> list[dict[str, list[str]]]:
    """A server that has no tokens asks for none, but for what only a token allows."""
    if access == ANYBODY:
        return []
    return [{"token": [access]}] if access == ADMIN else [{}, {"token": [access]}]


def _parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in route.rest:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    for name, one in route.query.items():
        yield {"name": name, "in": "query", "description": one.about, "schema": dict(one.schema)}


def _content(kind: Any) -> dict[str, Any]:
    if isinstance(kind, str):
        return {kind.partition(";")[0]: {"schema": {"type": "string"}}}
    schemas, _ = msgspec.json.schema_components(_kinds(kind), ref_template=SCHEMAS)
    return {JSON: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}}}


def _kinds(kind: Any) -> Sequence[Any]:
    return kind if isinstance(kind, tuple) else (kind,)


def _refusals(route: Route) -> dict[str, Any]:
    possible = set(REFUSALS)
    if not route.rest:
        possible -= {404} if route.query or route.body else {404, 501}
    if (route.method, route.access) != ("POST", ADMIN):
        possible -= {409}
    if route.access == ANYBODY:
        possible = {503} if route.path == "/readyz" else {404} if route.rest else set()
    return {str(status): {"description": REFUSALS[status], "content": _content(Refusal)} for status in sorted(possible)}


def page(description: Mapping[str, Any]) -> Text:
    """The same to read, with what to type."""
    sections = "\n".join(
        _section(path, method, one) for path, methods in description["paths"].items() for method, one in methods.items()
    )
    schemas = "\n".join(_schema(name, one) for name, one in description["components"]["schemas"].items())
    return Text(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_e(description["info"]["title"])}: what can be asked</title>
<link rel="stylesheet" href="docs.css">
<link rel="icon" href="data:,">
</head>
<body>
<main>
<nav><a href="./">To the page for people</a></nav>
<h1>What can be asked</h1>
<p>{_e(description["info"]["description"])} For programs: <a href="openapi.json">openapi.json</a>.</p>
{sections}
<h2>Bodies</h2>
{schemas}
</main>
</body>
</html>
""",
        "text/html; charset=utf-8",
    )


def _section(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{_e(one['name'])}</code> {_text(one.get('description', 'in the path'))}</li>"
        for one in operation["parameters"]
    )
    sent = _link(operation["requestBody"]["content"]) if "requestBody" in operation else ""
    answer = _link(operation["responses"]["200"]["content"])
    return f"""<section>
<h2><span class="method">{_e(method.upper())}</span> <code>{_e(path)}</code></h2>
<p>{_text(operation["summary"])}</p>
{f"<p>{_text(operation['description'])}</p>" if "description" in operation else ""}
{f"<ul>{parameters}</ul>" if parameters else ""}
{f"<p>Is sent {sent}.</p>" if sent else ""}
<p>Answers {answer}.</p>
</section>"""


def _link(content: Mapping[str, Any]) -> str:
    [(media_type, said)] = content.items()
    schema = said["schema"]
    names = [one["$ref"].rpartition("/")[2] for one in schema.get("anyOf", [schema]) if "$ref" in one]
    if not names:
        return f"<code>{_e(media_type)}</code>"
    return " or ".join(f'<a href="#{_e(name)}">{_e(name)}</a>' for name in names)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    text = json.dumps({key: value for key, value in schema.items() if key not in ("title", "description")}, indent=2)
    return f"""<section id="{_e(name)}">
<h3>{_e(name)}</h3>
<p>{_text(schema.get("description", ""))}</p>
<details><summary>as a schema</summary><pre>{_e(text)}</pre></details>
</section>"""


def style() -> Text:
    return Text(STYLE, "text/css; charset=utf-8")


def _text(text: str) -> str:
    """A sentence, in which what is to be typed stands out."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _e(text))


def _e(text: object) -> str:
    return html.escape(str(text))


STYLE = """:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 48rem; margin: 0 auto; padding: 1rem; }
section { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: .5rem 0; }
h2 { font-size: 1.1rem; margin: .5rem 0; }
h3 { font-size: 1rem; margin: .5rem 0; }
.method { font-size: .8rem; font-weight: 600; padding: .1rem .4rem; border: 1px solid; border-radius: .3rem; }
pre { overflow-x: auto; font-size: .85rem; }
code { overflow-wrap: anywhere; }
"""
