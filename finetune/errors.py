"""Errors of the finetune module: each message says what failed and what to type next."""


class FinetuneError(Exception):
    """Data, a run or an evaluation that cannot be used; the message is for the user."""


class DataError(FinetuneError):
    """A file of pairs, a benchmark or a picture in it that cannot be read."""
