"""Turns the telemetry of libraries off.

`import embedder`, `import indexer`, `import finetune` and `import app` do it, before any of these
libraries is imported: each reads its variable once. PRIVACY.md says what each would send.
"""

from __future__ import annotations

import os
import sys
import warnings

SWITCHES = {
    # a device id and an event store in the user's cache folder, sent to Microsoft;
    # `disable_telemetry_events()` comes too late
    "onnxruntime": ("ORT_DISABLE_TELEMETRY", "1"),
    # versions and a list of coding agents, fetched for the user agent; and in hf-xet, which reads
    # the same variable, a report of every download
    "huggingface_hub": ("HF_HUB_DISABLE_TELEMETRY", "1"),
    "ray": ("RAY_USAGE_STATS_ENABLED", "0"),
}  # by module: the variable and the value that turns it off

_imported_too_early: set[str] = set()


def disable_telemetry() -> None:
    """Set every switch that the user has not set."""
    for module, (variable, value) in SWITCHES.items():
        if variable not in os.environ:  # noqa: TID251  variables of other programs, no settings
            os.environ[variable] = value  # noqa: TID251
            if module in sys.modules:
                _imported_too_early.add(module)


def warn_if_too_late(module: str) -> None:
    """Warn if `module` was imported before its switch was set."""
    if module in _imported_too_early:
        variable, value = SWITCHES[module]
        warnings.warn(
            f"{module} was imported before Polylens could turn its telemetry off; import Polylens "
            f"first, or set {variable}={value} in the environment of this program",
            RuntimeWarning,
            stacklevel=3,
        )
