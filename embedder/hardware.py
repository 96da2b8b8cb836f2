"""The memory of this machine, read without loading torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """Bytes of main memory, and of each GPU."""

    ram: int
    gpus: tuple[int, ...] = ()


@cache
def detect_memory() -> MachineMemory:
    """Return the total memory; the GPUs are queried once."""
    return MachineMemory(_read_total_ram(), _query_gpu_memory())


def read_available_ram() -> int:
    """Return the bytes of main memory that are free for a model."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return _read_total_ram()
    fields = dict(line.split(":", 1) for line in meminfo.read_text("ascii").splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def choose_placement(needed_bytes: int, memory: MachineMemory) -> str:
    """Return where a model of that size in bf16 runs: "GPU", "CPU" (in fp32), or "no"."""
    if any(needed_bytes <= gpu for gpu in memory.gpus):
        return "GPU"
    return "CPU" if 2 * needed_bytes <= memory.ram else "no"


def _read_total_ram() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _query_gpu_memory() -> tuple[int, ...]:
    nvidia_smi = shutil.which("nvidia-smi")
    if not nvidia_smi:
        return ()
    query = [nvidia_smi, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(line) << 20 for line in result.stdout.split() if line.isdigit())


def format_bytes(amount: float) -> str:
    """Bytes as people say them: 1234567 -> 1.2 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
