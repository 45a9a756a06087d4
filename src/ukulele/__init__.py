"""Ukulele: transfer learning that proves it paid.

>>> import ukulele as uke
>>> sorted(uke.__all__)
['Run', 'UkuleleError', '__version__', 'check', 'choose', 'curve', 'fit', 'load']
"""

from __future__ import annotations

__version__ = "0.1.0"

from ukulele.api import Run, check, choose, curve, fit, load
from ukulele.errors import UkuleleError
from ukulele.tools.process import keep_kernels, take_large_pages

keep_kernels()
take_large_pages()

__all__ = ["Run", "UkuleleError", "__version__", "check", "choose", "curve", "fit", "load"]
