"""Errors of the embedder: each message says what failed and what to type next."""


class EmbedderError(Exception):
    """An input or a model that cannot be embedded with; the message is for the user."""


class UnavailableError(EmbedderError):
    """The model is out of reach, whatever the input: another would fare no better."""


class UnknownModelError(EmbedderError):
    """No family knows the model's name."""
