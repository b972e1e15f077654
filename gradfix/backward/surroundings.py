"""What a run may know of the environment it is started from: where programs and libraries are, nothing else."""

from __future__ import annotations

import os
import site

_KEPT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONUSERBASE",
    "VIRTUAL_ENV",
    "SYSTEMROOT",  # without it no Python starts on Windows
    "COMSPEC",
    "PATHEXT",
)
_CACHES = {"TORCH_HOME": "torch", "HF_HOME": "huggingface"}  # readable, though home is elsewhere


def environment(scratch: str) -> dict[str, str]:
    """The variables of a run whose home is `scratch`."""
    variables = {name: os.environ[name] for name in _KEPT if name in os.environ}
    if "PYTHONPATH" in variables:  # relative entries are meant from here
        variables["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, variables["PYTHONPATH"].split(os.pathsep)))
    variables.update(
        HOME=scratch,
        USERPROFILE=scratch,
        PYTHONHASHSEED="0",
        OMP_NUM_THREADS="1",
        MKL_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="",
        TORCH_COMPILE_DISABLE="1",
        MPLBACKEND="Agg",
        PYTHONDONTWRITEBYTECODE="1",
    )
    variables.setdefault("PYTHONUSERBASE", site.getuserbase())
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    for name, folder in _CACHES.items():
        variables[name] = os.environ.get(name, os.path.join(cache, folder))
    return variables
