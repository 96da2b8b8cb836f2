"""What a stretch of work took: time, processor time, the most memory, how busy the device was."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread

import psutil
import torch

from bench import cpu_time

SAMPLE_INTERVAL = 0.02  # seconds between two looks at the memory


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """`memory` in MB: the device's where it has its own, else the process's. `busy`: the share of
    the time in which nvidia-smi saw the device at work; None where there is none."""

    seconds: float
    cpu: float
    memory: float
    busy: float | None


def measure_usage(work: Callable[[], object], device: torch.device) -> ResourceUsage:
    """Do `work` and look on."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    with _MemorySampler() as resident, _GpuSampler(device) as busy:
        start, cpu = time.perf_counter(), cpu_time.cpu_seconds()
        work()
        if cuda:
            torch.cuda.synchronize(device)
        seconds, cpu = time.perf_counter() - start, cpu_time.cpu_seconds() - cpu
    most = torch.cuda.max_memory_allocated(device) if cuda else resident.peak
    return ResourceUsage(seconds, cpu, most / 2**20, busy.share)


class _MemorySampler:
    """The most memory that the process held while this was open."""

    peak = 0

    def __enter__(self) -> _MemorySampler:
        self._done = Event()
        self._thread = Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def _sample(self) -> None:
        process = psutil.Process()
        while True:
            self.peak = max(self.peak, process.memory_info().rss)
            if self._done.wait(SAMPLE_INTERVAL):
                return

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


class _GpuSampler:
    """nvidia-smi's looks at a device, ten a second."""

    share: float | None = None

    def __init__(self, device: torch.device) -> None:
        looks = shutil.which("nvidia-smi") if device.type == "cuda" else None
        self._words = [looks, f"--id={device.index or 0}", "--query-gpu=utilization.gpu"]
        self._words += ["--format=csv,noheader,nounits", "--loop-ms=100"]

    def __enter__(self) -> _GpuSampler:
        self._child = None
        if self._words[0]:
            self._child = subprocess.Popen(self._words, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is None:
            return
        self._child.terminate()
        output, _ = self._child.communicate(timeout=10)
        seen = [int(line) for line in output.split() if line.isdigit()]
        self.share = statistics.mean(seen) / 100 if seen else None
