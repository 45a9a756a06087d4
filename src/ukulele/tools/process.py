"""The process itself, set for a program that imports a great deal, works, and ends.

Only the command line calls it; `keep_kernels` and `take_large_pages`, which serve those who import the package as well,
that does itself.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
import threading
from contextlib import suppress

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1  # malloc.h
KERNELS = 4096  # of 100 to 300 KB each
NEW_OBJECTS = 200_000  # between two collections; Python's own 700 search torch's half a million objects again and again


def keep_freed_memory() -> None:
    """Let large buffers be taken from memory that was freed before instead of from the kernel each time.

    Activations of images are tens of megabytes each and live for a millisecond; faulting their pages in
    again costs more than the convolution (mobilenetv2_100, bf16, batches of 64: 20.1 ms of CPU a picture
    without, 6.7 with). Changes the whole process, so only the command line calls it. glibc alone has it.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def keep_kernels() -> None:
    """Let oneDNN keep what it compiled for `KERNELS` shapes of matrices, unless the environment says how many.

    It compiles a product once for each shape, 3 ms where the product takes .5, and throws all but the last 1,024 away:
    texts of all lengths have more (ten epochs of MiniLM's top block on sst2, bf16, two cores: 2,900 shapes; 67 s for
    92). It reads the number when it is first used: not too late where torch is imported already.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))


def take_large_pages() -> None:
    """Let torch ask for pages of 2 MB for tensors of that size and more, unless the environment says otherwise.

    Where Linux gives them to those who ask (`madvise`, the usual setting), the processor looks up fewer addresses: a
    step that trains all of MiniLM takes 131 ms for 139 (bf16, two cores). Torch reads it with its first tensor: it has
    no effect where there is one already.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def collect_seldom() -> None:
    """Search for cycles once per `NEW_OBJECTS` objects: importing torch and transformers takes 1.0 s less of 5.1."""
    gc.set_threshold(NEW_OBJECTS)


def leave(code: int) -> None:
    """End the process as `sys.exit` would, without taking apart every module first (1.2 s with torch imported).

    What was registered for the end is run and what was said is flushed; where other threads still work, it is
    `sys.exit`.
    """
    if threading.active_count() > 1:
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError, ValueError):  # nobody reads any more
            stream.flush()
    os._exit(code)
