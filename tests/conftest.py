"""Settings of the whole suite."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# CI repeats itself: a run that failed there fails here. At home every run looks at other examples.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# What a shell starts in the background ignores Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
