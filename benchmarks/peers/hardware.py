"""What this machine multiplies quickly: a peer at its best uses bf16 only where that is native."""

from __future__ import annotations

from pathlib import Path

NATIVE = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is Arm's; elsewhere bf16 is emulated, up to 30 times slower


def fast_bf16() -> bool:
    """Whether the CPU has instructions for bf16, by what Linux says of it."""
    path = Path("/proc/cpuinfo")
    return path.exists() and not NATIVE.isdisjoint(path.read_text().split())
