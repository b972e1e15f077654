"""What the check asks of a run reaches the other side as it was asked."""

from __future__ import annotations

import json
from dataclasses import replace

from gradfix.backward.worker.requests import Plan, Request, Search, numbered

PLAIN = Request("file.py", "text", "/folder", 20.0, 1)
FULL = replace(
    PLAIN,
    call="f(x)",
    search=Search(lines=(3, 4), targets=((3,), (4, 5)), writes=((), (4,)), stems=("modified",), akin=(), leaves=True),
    lines=(3, 4),
    seed=2,
    plan=Plan(scale=-1.0, direction=1, step=0.5),
    further=(replace(PLAIN, call="f(x)", seed=3), replace(PLAIN, lines=(7,), trace=True)),
)


def test_a_request_survives_its_journey() -> None:
    for request in (PLAIN, FULL):
        assert numbered(json.loads(json.dumps(request.message(5)))) == (5, request)
