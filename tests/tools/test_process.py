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


@pytest.mark.parametrize(
    ("name", "value", "said"), [(KEPT, str(process.KERNELS), "7"), ("THP_MEM_ALLOC_ENABLE", "1", "0")]
)
def test_importing_the_package_sets_what_the_environment_does_not(name: str, value: str, said: str) -> None:
    code = f"import os, ukulele; print(os.environ[{name!r}])"
    unsaid = {key: one for key, one in os.environ.items() if key != name}
    for surroundings, expected in ((unsaid, value), (unsaid | {name: said}, said)):
        command = [sys.executable, "-c", code]
        found = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == expected
