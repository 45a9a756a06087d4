"""What a candidate takes: seconds by phase, and memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import psutil
import torch


class Meter:
    """Seconds by phase and peak memory of one candidate."""

    def __init__(self, spent: Mapping[str, Any]) -> None:
        self._before, self.peak = float(spent["seconds"]), int(spent["peak"])
        self.phases: dict[str, float] = dict(spent["phases"])
        self._began = self._last = time.perf_counter()
        self._process = psutil.Process()

    def mark(self, phase: str) -> None:
        """The time since the last mark belongs to `phase`."""
        now = time.perf_counter()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._last
        self._last = now
        memory = self._process.memory_info()  # without the pages of files that are merely mapped
        self.peak = max(self.peak, int(memory.rss - getattr(memory, "shared", 0)))
        if torch.cuda.is_available():
            self.peak = max(self.peak, torch.cuda.max_memory_allocated())

    @property
    def seconds(self) -> float:
        """All seconds, those before a resume included."""
        return self._before + time.perf_counter() - self._began

    def plain(self) -> dict[str, Any]:
        """As plain JSON, for a checkpoint."""
        return {"seconds": self.seconds, "peak": self.peak, "phases": self.phases}


def peak_memory() -> int:
    """The most memory this process ever held, in bytes."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
