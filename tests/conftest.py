"""Settings of the whole suite."""

from __future__ import annotations

import os

from hypothesis import settings

# CI repeats itself: a run that failed there fails here. At home every run looks at other examples.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
