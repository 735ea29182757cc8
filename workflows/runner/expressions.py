"""The three small languages of a workflow: `depends`, `when`, and a retry's `expression`.

They share one grammar here: names, numbers, quoted texts, comparisons, `in`, `!`, `&&`, `||`, parentheses, and
calls. Argo reads `when` with govaluate, where an unquoted word is a text, and the others with expr, where it is a
name; what only the other of the two knows is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

RESULTS = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed")

TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
  | (?P<number>-?\d+(?:\.\d+)?(?![\w-]))
  | (?P<sign>&&|\|\||==|!=|<=|>=|=~|!~|[<>!()\[\],])
  | (?P<name>[A-Za-z0-9_][\w-]*(?:\.\w+)*)
    )""",
    re.VERBOSE,
)
WORDS = {"and": "&&", "or": "||", "not": "!"}
GOVALUATE, EXPR, DEPENDS = "when", "retryStrategy", "depends"
FUNCTIONS: dict[str, Callable[[Any], Any]] = {"asInt": lambda value: int(str(value)), "asFloat": float, "string": str}


class ExpressionError(ValueError):
    """The expression cannot be read or evaluated; Argo would refuse it too."""


@dataclass(frozen=True)
class Token:
    kind: str
    value: str


def tokens(expression: str, dialect: str) -> list[Token]:
    found, place = [], 0
    text = expression.rstrip()
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None:
            raise ExpressionError(f"{expression!r} cannot be read at {text[place:].strip()!r}; put texts in quotes")
        kind = str(match.lastgroup)
        value = match.group(kind)
        if dialect == EXPR and kind == "name" and value in WORDS:
            kind, value = "sign", WORDS[value]
        if dialect != GOVALUATE and value in ("=~", "!~"):
            raise ExpressionError(f"{expression!r} uses {value}, which only a when knows")
        found.append(Token(kind, value))
        place = match.end()
    return found


class Reader:
    """Evaluates while it reads, lowest precedence first; `name` says what a bare word stands for."""

    def __init__(self, expression: str, dialect: str, name: Callable[[str], Any]) -> None:
        self.expression = expression
        self.dialect = dialect
        self.rest = tokens(expression, dialect)
        self.name = name

    def value(self) -> Any:
        result = self.either()
        if self.rest:
            raise ExpressionError(f"{self.expression!r} goes on with {self.rest[0].value!r} where it should end")
        return result

    def take(self, *signs: str) -> str:
        """The next sign, if it is one of these."""
        if self.rest and self.rest[0].kind == "sign" and self.rest[0].value in signs:
            return self.rest.pop(0).value
        return ""

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise ExpressionError(f"{self.expression!r} lacks a {sign!r}")

    def truth(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ExpressionError(f"{self.expression!r} uses {value!r} where true or false is needed")
        return value

    def either(self) -> Any:
        left = self.both()
        while self.take("||"):
            right = self.both()
            left = self.truth(left) or self.truth(right)
        return left

    def both(self) -> Any:
        left = self.compared()
        while self.take("&&"):
            right = self.compared()
            left = self.truth(left) and self.truth(right)
        return left

    def compared(self) -> Any:
        left = self.unary()
        if self.rest and self.rest[0] == Token("name", "in"):
            self.rest.pop(0)
            return left in self.members()
        sign = self.take("==", "!=", "<=", ">=", "<", ">", "=~", "!~")
        return self.compare(sign, left, self.unary()) if sign else left

    def compare(self, sign: str, left: Any, right: Any) -> bool:
        if sign in ("==", "!="):
            same = type(left) is type(right) and left == right
            if isinstance(left, (int, float)) and isinstance(right, (int, float)):
                same = left == right
            return same == (sign == "==")
        if sign in ("=~", "!~"):
            return (re.search(str(right), str(left)) is not None) == (sign == "=~")
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        texts = isinstance(left, str) and isinstance(right, str)
        if not (numbers or texts) or isinstance(left, bool):
            raise ExpressionError(f"{self.expression!r} orders {left!r} and {right!r}, which have no order")
        less, equal = bool(left < right), bool(left == right)
        return {"<": less, "<=": less or equal, ">": not (less or equal), ">=": not less}[sign]

    def unary(self) -> Any:
        return not self.truth(self.unary()) if self.take("!") else self.atom()

    def atom(self) -> Any:
        if self.take("("):
            inner = self.either()
            self.expect(")")
            return inner
        if not self.rest or self.rest[0].kind == "sign":
            raise ExpressionError(f"{self.expression!r} ends, or has a sign, where a value is needed")
        token = self.rest.pop(0)
        if token.kind == "text":
            return re.sub(r"\\(.)", r"\1", token.value[1:-1])
        if token.kind == "number":
            return float(token.value) if "." in token.value else int(token.value)
        if token.value in ("true", "false"):
            return token.value == "true"
        return self.call(token.value) if self.take("(") else self.name(token.value)

    def call(self, function: str) -> Any:
        known = FUNCTIONS if self.dialect == EXPR else {}
        if function not in known:
            raise ExpressionError(f"{self.expression!r} calls {function!r}; known are {', '.join(known) or 'none'}")
        argument = self.either()
        self.expect(")")
        try:
            return FUNCTIONS[function](argument)
        except ValueError as error:
            raise ExpressionError(f"{self.expression!r}: {function} of {argument!r} is no number") from error

    def members(self) -> list[Any]:
        begin, close = ("(", ")") if self.dialect == GOVALUATE else ("[", "]")
        if not self.take(begin):
            raise ExpressionError(f"{self.expression!r} needs a list in {begin}{close} after 'in'")
        found: list[Any] = []
        while not self.take(close):
            if found:
                self.expect(",")
            found.append(self.atom())
        return found


def when(expression: str) -> bool:
    """A task's `when`, after its tags were replaced; an unquoted word is a text."""

    def word(name: str) -> str:
        # govaluate takes a hyphen for a minus, and fails on texts: the same here, so that it shows before the cluster.
        if "-" in name or "." in name:
            raise ExpressionError(f"{expression!r}: put {name!r} in quotes")
        return name

    reader = Reader(expression, GOVALUATE, word)
    return reader.truth(reader.value())


def retry(expression: str, last: Mapping[str, str]) -> bool:
    """A retryStrategy's expression, with `lastRetry.exitCode` and its companions."""

    def variable(name: str) -> str:
        if name not in last:
            raise ExpressionError(f"{expression!r} names {name!r}; known are {', '.join(last)}")
        return last[name]

    reader = Reader(expression, EXPR, variable)
    return reader.truth(reader.value())


def depends(expression: str, result: Callable[[str, str], bool]) -> bool:
    """A task's `depends`; `result(task, "Succeeded")` answers for one task."""

    def variable(name: str) -> bool:
        task, _, wanted = name.partition(".")
        if wanted:
            return result(task, wanted)
        return any(result(task, implied) for implied in ("Succeeded", "Skipped", "Daemoned"))

    reader = Reader(expression, DEPENDS, variable)
    return reader.truth(reader.value())


def dependencies(expression: str) -> dict[str, set[str]]:
    """The tasks that a `depends` names, each with the results asked of it ("" where none is written)."""
    found: dict[str, set[str]] = {}
    for token in tokens(expression, DEPENDS):
        if token.kind in ("name", "number"):
            task, _, wanted = token.value.partition(".")
            found.setdefault(task, set()).add(wanted)
    return found
