"""The form of a chat request, and simpler ones for servers that do not know all of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from finetune.synthesis.writers import Request

FORMATS = ("json_schema", "json_object", "")  # from the strictest to none
LIMITS = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Form:
    """`format`: how JSON is asked for; `limit`: what the most tokens are called; a `temperature` of
    None leaves it to the server."""

    format: str = FORMATS[0]
    limit: str = LIMITS[1]
    max_tokens: int = 3000
    temperature: float | None = 1.0

    def body(self, model: str, request: Request, content: list[dict[str, Any]]) -> dict[str, Any]:
        """The JSON to post."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": content},
            ],
            self.limit: self.max_tokens,
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.format == "json_schema":
            schema = {"name": "sample", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": self.format, "json_schema": schema}
        elif self.format:
            body["response_format"] = {"type": self.format}
        return body


def fallback(form: Form, said: str) -> Form | None:
    """The next form to try where a server `said` that it refuses this one; None: there is none."""
    if form.limit == "max_tokens" and "max_completion_tokens" in said:
        return replace(form, limit="max_completion_tokens")
    if form.temperature is not None and "temperature" in said:
        return replace(form, temperature=None)
    rest = FORMATS[FORMATS.index(form.format) + 1 :]
    return replace(form, format=rest[0]) if rest else None
