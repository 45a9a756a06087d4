"""How a process of the command line ends."""

from __future__ import annotations

import subprocess
import sys

import pytest


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
