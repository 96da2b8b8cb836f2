"""What this machine has room for, told without loading torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of main memory, and of each GPU."""

    main: int
    gpus: tuple[int, ...] = ()


@cache
def memory() -> Memory:
    """What there is in all; the GPUs are asked for once."""
    return Memory(_main(), _gpus())


def available() -> int:
    """Bytes of main memory that a new model could take now."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return _main()
    fields = dict(line.split(":", 1) for line in meminfo.read_text("ascii").splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def runs_on(needed: int, there: Memory) -> str:
    """Where a model that needs that many bytes at bf16 runs: "GPU", "CPU" (at fp32), or "no"."""
    if any(needed <= gpu for gpu in there.gpus):
        return "GPU"
    return "CPU" if 2 * needed <= there.main else "no"


def _main() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gpus() -> tuple[int, ...]:
    tool = shutil.which("nvidia-smi")
    if not tool:
        return ()
    query = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(line) << 20 for line in answer.stdout.split() if line.isdigit())
