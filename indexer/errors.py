"""The errors of the indexer: each message says what failed, where, and what to do next.

IndexerError
├── ConfigError        a setting, a flag or an environment variable is wrong
├── QueryError         a query that cannot be understood
├── CollectionError    the collection is missing, damaged, newer, or of another model
├── StoreError         the store refused or failed
│   ├── StoreBusyError another process holds what this one needs
│   └── StoreUnavailableError the server has not answered in time
└── DiskFullError      too little free disk space to write safely
"""


class IndexerError(Exception):
    """The base class; the message is for the user."""


class ConfigError(IndexerError):
    """A setting, a flag or an environment variable is wrong."""


class QueryError(IndexerError):
    """A query that cannot be understood."""


class CollectionError(IndexerError):
    """The collection is missing, damaged, of a newer format, or of another model."""


class StoreError(IndexerError):
    """The store refused or failed."""


class StoreBusyError(StoreError):
    """Another process holds what this one needs."""


class StoreUnavailableError(StoreError):
    """The server has not answered, or was too busy, until the time limit."""


class DiskFullError(IndexerError):
    """Too little free disk space to write safely."""
