"""The form of a chat request, and simpler ones for servers that do not know all of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from finetune.synthesis.llm import Request

RESPONSE_FORMATS = ("json_schema", "json_object", "")  # from the strictest to none
LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class RequestFormat:
    """`format`: how JSON is asked for; `limit`: what the most tokens are called; a `temperature` of
    None leaves it to the server."""

    response_format: str = RESPONSE_FORMATS[0]
    limit_field: str = LIMIT_FIELDS[1]
    max_tokens: int = 3000
    temperature: float | None = 1.0

    def build_body(
        self, model: str, request: Request, content: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """The JSON to post."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": content},
            ],
            self.limit_field: self.max_tokens,
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.response_format == "json_schema":
            schema = {"name": "sample", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": self.response_format, "json_schema": schema}
        elif self.response_format:
            body["response_format"] = {"type": self.response_format}
        return body


def simplify_format(request_format: RequestFormat, error_text: str) -> RequestFormat | None:
    """The next form to try where a server `said` that it refuses this one; None: there is none."""
    if request_format.limit_field == "max_tokens" and "max_completion_tokens" in error_text:
        return replace(request_format, limit_field="max_completion_tokens")
    if request_format.temperature is not None and "temperature" in error_text:
        return replace(request_format, temperature=None)
    simpler = RESPONSE_FORMATS[RESPONSE_FORMATS.index(request_format.response_format) + 1 :]
    return replace(request_format, response_format=simpler[0]) if simpler else None
