"""TensorFlow Serving's REST API, as far as it is used: the state of a version, and a call of a signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steps.runtime.errors import CheckFailedError, TryAgainError, UsageError

if TYPE_CHECKING:
    import requests

AVAILABLE = "AVAILABLE"
ABSENT = "ABSENT"
"""Not a state of TF Serving's: it does not know the version, or does not answer yet."""
CONNECT_SECONDS, READ_SECONDS = 2.0, 30.0


class ServingClient:
    """One model of one server, such as a slot."""

    def __init__(self, address: str, model: str) -> None:
        import requests

        self.url = f"{address.rstrip('/')}/v1/models/{model}"
        self.session = requests.Session()

    def state(self, version: int) -> str:
        """`AVAILABLE` once the version answers requests, else what the server says of it, with the reason it gives."""
        import requests

        try:
            answer = self.session.get(f"{self.url}/versions/{version}", timeout=(CONNECT_SECONDS, READ_SECONDS))
        except requests.RequestException:
            return ABSENT
        if not answer.ok:
            return ABSENT
        for status in _json(answer).get("model_version_status", []):
            if str(status.get("version")) == str(version):
                reason = status.get("status", {}).get("error_message", "")
                return f"{status['state']}: {reason}" if reason else str(status["state"])
        return ABSENT

    def call(self, version: int | None, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """The outputs of a signature by name, in the columnar form of the API."""
        import requests

        url = f"{self.url}/versions/{version}:predict" if version else f"{self.url}:predict"
        body = {"signature_name": signature, "inputs": inputs}
        try:
            answer = self.session.post(url, json=body, timeout=(CONNECT_SECONDS, READ_SECONDS))
        except requests.RequestException as error:
            raise TryAgainError(f"{self.url} does not answer: {type(error).__name__}") from error
        if answer.status_code >= 500 or answer.status_code == 404:
            raise TryAgainError(f"{url} answers {answer.status_code}: {_reason(answer)}")
        if not answer.ok:
            raise CheckFailedError(f"{url} refuses {signature}: {_reason(answer)}")
        outputs = _json(answer).get("outputs")
        # A signature with a single output is answered without its name.
        return outputs if isinstance(outputs, dict) else {"": outputs}


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError as error:
        raise CheckFailedError(f"{answer.url} answers something that is not JSON") from error
    if not isinstance(value, dict):
        raise CheckFailedError(f"{answer.url} answers JSON that is not an object")
    return value


def _reason(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return "no reason given"


def parse_slots(text: str) -> dict[str, str]:
    """`blue=http://…,green=http://…` → addresses by name; exactly two, because they take turns."""
    slots: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, address = part.partition("=")
        if not equals or not address.startswith(("http://", "https://")) or not name.isalnum():
            raise UsageError(f"SLOTS has {part!r}: write NAME=http://HOST:PORT")
        slots[name] = address
    if slots and len(slots) != 2:
        raise UsageError(f"SLOTS names {len(slots)} slots; two are required, such as blue=http://…,green=http://…")
    return slots
