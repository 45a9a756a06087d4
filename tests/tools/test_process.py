"""How a process is set, and how one of the command line ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ukulele.tools import process

KEPT = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


@pytest.mark.parametrize("code", [0, 2])
@pytest.mark.parametrize("thread", [False, True])
def test_leave_runs_what_was_registered_and_loses_no_word(code: int, thread: bool) -> None:
    program = (
        "import atexit, sys, threading, time\n"
        "from ukulele.tools.process import leave\n"
        "atexit.register(print, 'registered')\n"
        f"if {thread}: threading.Thread(target=lambda: (time.sleep(.2), print('thread'))).start()\n"
        "sys.stdout.write('said without a line end ')\n"
        f"leave({code})\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == code, found.stderr
    assert found.stdout.split() == ["said", "without", "a", "line", "end", *(["thread"] * thread), "registered"]


@pytest.mark.parametrize(("said", "kept"), [(None, str(process.KERNELS)), ("7", "7")])
def test_importing_the_package_has_compiled_kernels_kept_unless_the_environment_says_how_many(
    said: str | None, kept: str
) -> None:
    surroundings = {name: value for name, value in os.environ.items() if name != KEPT} | ({KEPT: said} if said else {})
    code = f"import os, ukulele; print(os.environ[{KEPT!r}])"
    found = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == kept
