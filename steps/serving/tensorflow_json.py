"""JSON as TensorFlow Serving writes it, to the byte: four spaces, rows on one line, floats in their shortest form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

INDENT = "    "
ESCAPES = {code: f"\\u{code:04X}" for code in range(32)} | {
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\b"): "\\b",
    ord("\f"): "\\f",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}


def columns(outputs: Mapping[str, Any]) -> str:
    """The answer to `inputs`: every output whole. A single output is written without its name."""
    if len(outputs) == 1:
        return _object({"outputs": _tall(next(iter(outputs.values())), 1)}, 0)
    return _object({"outputs": _object({name: _tall(value, 2) for name, value in outputs.items()}, 1)}, 0)


def rows(outputs: Mapping[str, Any]) -> str:
    """The answer to `instances`: one entry a row, with names only where there are several outputs."""
    count = len(next(iter(outputs.values())))
    if len(outputs) == 1:
        only = next(iter(outputs.values()))
        # The first value follows the bracket, and the last is followed by a line break: so the original writes it.
        inner = ", ".join(_flat(only[row]) for row in range(count))
        return _object({"predictions": f"[{inner}\n{INDENT}]" if count else "[]"}, 0)
    entries = [_object({name: _flat(value[row]) for name, value in outputs.items()}, 2) for row in range(count)]
    return _object({"predictions": _lines(entries, 1)}, 0)


def error(message: str) -> str:
    return _object({"error": _text(message)}, 0)


@dataclass(frozen=True)
class VersionState:
    """The state of one version, and what went wrong where it ended because of an error."""

    name: str
    error: str = ""


def status(versions: Mapping[int, VersionState]) -> str:
    """The states of versions, in the layout of protobuf's own printer."""
    entries = [
        {
            "version": str(version),
            "state": state.name,
            "status": {"error_code": "UNKNOWN" if state.error else "OK", "error_message": state.error},
        }
        for version, state in sorted(versions.items(), reverse=True)
    ]
    return json.dumps({"model_version_status": entries}, indent=1) + "\n"


def number(value: float) -> str:
    """A float32: six digits where they suffice to read the same value back, else nine."""
    single = np.float32(value)
    if np.isnan(single):
        return "NaN"
    if np.isinf(single):
        return "Infinity" if single > 0 else "-Infinity"
    text = f"{float(single):g}"
    if np.float32(text) != single:
        text = f"{float(single):.9g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _flat(value: Any) -> str:
    if isinstance(value, np.ndarray | list):
        return f"[{', '.join(_flat(one) for one in value)}]"
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return number(float(value))
    return _text(str(value))


def _tall(value: Any, depth: int) -> str:
    if isinstance(value, np.ndarray | list):
        return _lines([_tall(one, depth + 1) for one in value], depth)
    return _flat(value)


def _lines(entries: list[str], depth: int) -> str:
    if not entries:
        return "[]"
    inner = ",\n".join(INDENT * (depth + 1) + entry for entry in entries)
    return f"[\n{inner}\n{INDENT * depth}]"


def _object(members: Mapping[str, str], depth: int) -> str:
    inner = ",\n".join(f"{INDENT * (depth + 1)}{_text(name)}: {value}" for name, value in members.items())
    return f"{{\n{inner}\n{INDENT * depth}}}"


def _text(value: str) -> str:
    return f'"{value.translate(ESCAPES)}"'
