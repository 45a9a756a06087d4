"""Ukulele: transfer learning that proves it paid."""

from __future__ import annotations

__version__ = "0.1.0"
