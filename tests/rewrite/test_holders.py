"""Who holds a tensor without a name that is followed: a safe fix leaves it the tensor that is written."""

from __future__ import annotations

import pytest
from programs import assert_cured, fixed

torch = pytest.importorskip("torch")

HOLDERS = {
    "an array": ("n = y.detach().numpy()", "torch.from_numpy(n)"),
    "an array over the memory of another": ("n = np.ravel(y.detach().numpy())", "torch.from_numpy(n)"),
    "an array in a dictionary": ("d = {'a': y.detach().numpy()}", "torch.from_numpy(d['a'])"),
    "one of two arrays": (
        "n = y.detach().double().numpy() if y.sum() < 0 else y.detach().numpy()",
        "torch.from_numpy(n)",
    ),
    "one of two lists": ("h = [y] if x.sum() < 99 else []", "h[0]"),
    "a list, or nothing": ("h = None\nif x.sum() < 99:\n    h = [y]", "h[0]"),
    "a list behind `or`": ("h = x.__dict__.get('none') or [y]", "h[0]"),
    "a copy of the object": ("c = copy.copy(y)", "c"),
    "a parameter over its memory": ("p = torch.nn.Parameter(y.detach())", "p"),
    "a map": ("h = map(lambda t: t * 2, [y])", "next(h)"),
    "a generator expression": ("h = (t * 2 for t in [y])", "next(h)"),
    "a generator that has begun": (
        "def g():\n    t = y\n    yield 0\n    yield t\n\n\nh = g()\nnext(h)",
        "next(h)",
    ),
    "a queue": ("q = queue.Queue()\nq.put(y)", "q.get()"),
    "a heap": ("h = []\nheapq.heappush(h, (1, y))", "h[0][1]"),
    "a deque": ("d = collections.deque()\nd.appendleft(y)", "d[0]"),
    "an object by its attributes": ("class A:\n    t = None\n\n\na = A()\nvars(a)['t'] = y", "a.t"),
    "an update of the attributes": ("class A:\n    t = None\n\n\na = A()\na.__dict__.update(t=y)", "a.t"),
    "a field of a named tuple that others default": (
        "class P(typing.NamedTuple):\n    t: object\n    other: int = 0\n\n\np = P(0)._replace(t=y)",
        "p[0]",
    ),
    "an array of objects": ("n = np.empty(1, dtype=object)\nn[0] = y", "n[0]"),
    "a list that gives it away": ("h = [y]", "h.pop()"),
    "a context variable": ("v = contextvars.ContextVar('v')\nv.set(y)", "v.get()"),
    "a weak reference": ("r = weakref.ref(y)", "r()"),
    "a function that remembers": ("@functools.cache\ndef get():\n    return y\n\n\nget()", "get()"),
    "a function with attributes": ("def f():\n    pass\n\n\nf.kept = y", "f.kept"),
    "an object of a class derived from list": ("class Held(list):\n    pass\n\n\nh = Held([y])", "h[0]"),
    "an object that answers for all names": (
        "class Any:\n    def __init__(self, t):\n        self.t = t\n\n    def __getattr__(self, name):\n"
        "        return self.t\n\n\na = Any(y)",
        "a.other",
    ),
    "a key": ("d = {y: 1}", "next(iter(d))"),
    "an update by keyword": ("d = {}\nd.update(a=y)", "d['a']"),
    "a default": ("t = getattr(x, 'missing', y)", "t"),
    "an error": ("try:\n    raise ValueError(y)\nexcept ValueError as error:\n    a = error.args", "a[0]"),
    "an attribute of a module": ("queue.kept = y", "queue.kept"),
    "a module": ("m = torch.nn.Module()\nm.register_buffer('kept', y.detach())", "m.state_dict()['kept']"),
    "names as a dictionary": ("d = dict(locals())", "d['y']"),
    "what evaluates text": ("t = eval('y')", "t"),
    "what nobody follows": ("t = torch.utils._pytree.tree_leaves({'a': y})", "t[0]"),
    "what a thread gives": (
        "with futures.ThreadPoolExecutor(1) as pool:\n    t = pool.submit(lambda: y)",
        "t.result()",
    ),
    "a data set": ("d = torch.utils.data.TensorDataset(y)", "d[0][0]"),
}
HEAD = (
    "import collections, contextvars, copy, functools, heapq, queue, typing, weakref\n"
    "from concurrent import futures\n\n"
    "import numpy as np\nimport torch\nimport torch.utils._pytree\nimport torch.utils.data\n\n"
    "x = torch.randn(3, requires_grad=True)\ny = x.exp()\n"
)


def test_a_stack_of_contexts_calls_back_with_the_tensor() -> None:
    made = "with contextlib.ExitStack() as stack:\n    stack.callback(show, y)\n    y += 1\n"
    end = "loss = (y * y).sum()\nshow(loss, y)\nloss.backward()\n"
    text = assert_cured(f"import contextlib\n{HEAD}{made}{end}", "modified by an inplace operation", "x")
    assert "    y += 1\n" in text


KEEPING = """\
import torch

x = torch.randn(3, requires_grad=True)


def keep(xs=None):
    return xs


class Held:
    def __init__(self, items=()):
        self.items = items


def f(x, acc):
    y = x * 2
    view = y[:1]
"""
SUMS = {
    "handed in a call's keyword": ("held = keep(xs=acc.get('a', []) + [view])", "held[0]"),
    "behind what nobody knows": ("held = [view] + acc.get('a', [])", "held[0]"),
    "put back": ("acc['a'] = acc.get('a', []) + [view]", "acc['a'][0]"),
    "by an update": ("acc.update(a=acc.get('a', []) + [view])", "acc['a'][0]"),
    "of dictionaries": ("held = acc | {'a': view}", "held['a']"),
    "of objects": ("held = Held(items=acc.get('a', []) + [view])", "held.items[0]"),
    "in place": ("held = acc['none']\nheld += [view]", "acc['none'][0]"),
    "of an item in place": ("acc['none'] += [view]", "acc['none'][0]"),
    "of an attribute in place": ("acc['held'].items += (view,)", "acc['held'].items[0]"),
    "of several lists": ("held = sum([[view], acc['none']], [])", "held[0]"),
    "of several lists, from a start": ("held = sum([[view]], start=acc['none'])", "held[0]"),
    "between two slices": ("none = acc['none']\nheld = none[:1] + [view] + none[1:]\nheld *= 2", "held[1]"),
    "of an item that has a name": ("none = acc['none']\nd = {'k': none}\nd['k'] += [view]", "none[0]"),
}


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_with_what_nobody_knows_holds_what_is_added(name: str) -> None:
    made, taken = SUMS[name]
    indented = made.replace("\n", "\n    ")
    assert_cured(
        f"{KEEPING}    {indented}\n    loss = y.sin().sum()\n    y[0] = 3.0\n    return loss, {taken} * 2\n\n\n"
        "loss, held = f(x, {'none': [], 'held': Held()})\nshow(loss, held)\n(loss + held.sum()).backward()\n",
        "modified by an inplace operation",
        "x",
    )


LEFT = {  # what the caller hands in, what the body puts there, where the caller finds it
    "in a list": ("[]", "acc.append(view)", "acc[0]"),
    "in a slice of a list": ("[]", "acc[:0] = [view]", "acc[0]"),
    "in a list of a dictionary": ("{'a': []}", "acc.get('a').append(view)", "acc['a'][0]"),
    "in each of some lists": ("[[]]", "for row in acc:\n        row.append(view)", "acc[0][0]"),
    "in each, by a map": ("[[]]", "list(map(lambda row: row.append(view), acc))", "acc[0][0]"),
    "in one of two lists": ("[]", "(acc if x.sum() < 99 else []).append(view)", "acc[0]"),
    "under a key": ("{}", "acc['a'] = view", "acc['a']"),
    "as an item, by a function": ("[0]", "operator.setitem(acc, 0, view)", "acc[0]"),
    "by a function that adds in place": ("[]", "acc = operator.iadd(acc, [view])", "acc[0]"),
    "by a method that is called elsewhere": ("[]", "operator.methodcaller('append', view)(acc)", "acc[0]"),
    "by a function that is handed in": ("[].append", "acc(view)", "acc.__self__[0]"),
    "as an attribute": ("SimpleNamespace()", "acc.a = view", "acc.a"),
    "as an attribute of some name": ("SimpleNamespace()", "setattr(acc, 'a', view)", "acc.a"),
    "among the attributes": ("SimpleNamespace()", "vars(acc)['a'] = view", "acc.a"),
    "in a list of the module": ("None", "STORE.append(view)", "STORE[0]"),
    "in a list of a class": ("None", "Held.pool.append(view)", "Held.pool[0]"),
    "on a class": ("None", "Held.view = view", "Held.view"),
    "in a variable of the module": ("None", "global kept\n    kept = view", "kept"),
}


@pytest.mark.parametrize("name", LEFT)
def test_a_caller_that_gets_at_a_view_sees_the_write(name: str) -> None:
    """Nothing in the function reads the view again; it is the caller that does."""
    given, made, taken = LEFT[name]
    assert_cured(
        "import operator\nfrom types import SimpleNamespace\n\nimport torch\n\nSTORE = []\nkept = None\n\n\n"
        "class Held:\n    pool = []\n\n\nx = torch.randn(3, requires_grad=True)\n\n\n"
        f"def f(x, acc):\n    y = x * 2\n    view = y[:1]\n    {made}\n    loss = y.sin().sum()\n    y[0] = 3.0\n"
        f"    return loss\n\n\nacc = {given}\nloss = globals()['f'](x, acc)\nshow(loss, {taken})\n"
        f"(loss + {taken}.sum()).backward()\n",
        "modified by an inplace operation",
        "x",
    )


def test_a_caller_in_the_file_that_throws_the_list_away_is_not_all_of_them() -> None:
    assert_cured(
        "import torch\n\nx = torch.randn(3, requires_grad=True)\n\n\ndef f(x, acc):\n    y = x.exp()\n"
        "    acc.append(y[:1])\n    y[0] = 3.0\n    return y\n\n\ndef main():\n    f(x, []).sum().backward()\n\n\n"
        "acc = []\nloss = globals()['f'](x, acc).sum()\nshow(loss, acc[0])\n(loss + acc[0].sum()).backward()\n",
        "modified by an inplace operation",
        "x",
    )


DEFAULTS = {  # the parameter, what the body does with it, what it takes from it
    "a list": ("acc=[]", "acc.append(view)", "acc.pop()"),
    "a list that is extended": ("acc=[]", "acc.extend([view])", "acc.pop()"),
    "a list that is written over": ("acc=[]", "acc.insert(0, view)", "acc.pop()"),
    "a dictionary": ("acc={}", "acc.update(a=view)", "acc.pop('a')"),
    "a list, by its number": ("acc=[]", "acc.append(view)", "acc[0]"),
    "a keyword": ("*, acc=[]", "acc.append(view)", "acc.pop()"),
    "what an annotation is wrong about": ("acc: str", "acc.append(view)", "acc[0]"),
    "none, where something is given": ("acc=None", "if acc is not None:\n        acc.append(view)", "[view, *acc][-1]"),
    "a list of the module": ("acc=STORE", "acc.append(view)", "STORE.pop()"),
    "what the module reads it by": ("acc=STORE", "STORE.append(view)", "acc.pop()"),
    "a method of a list": ("put=STORE.append", "put(view)", "STORE.pop()"),
    "a function over a list": ("put=lambda t: STORE.append(t)", "put(view)", "STORE.pop()"),
    "none, or what is given": ("acc=None", "if acc is not None:\n        acc.append(view)", "acc[0]"),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_parameter_with_a_default_holds_what_it_is_given(name: str) -> None:
    """Nobody in the file calls the function by what it says of itself: the analysis makes up what it is given."""
    parameter, made, taken = DEFAULTS[name]
    given = "" if "=" in parameter and "None" not in parameter else "acc=[]"
    assert_cured(
        "import torch\n\nSTORE = []\nx = torch.randn(3, requires_grad=True)\n\n\n"
        f"def f(x, {parameter}):\n    y = x * 2\n"
        f"    view = y[:1]\n    {made}\n    loss = y.sin().sum()\n    y[0] = 3.0\n    return loss, {taken} * 2\n\n\n"
        f"loss, held = globals()['f'](x, {given})\nshow(loss, held)\n(loss + held.sum()).backward()\n",
        "modified by an inplace operation",
        "x",
    )


@pytest.mark.parametrize("name", HOLDERS)
def test_a_holder_sees_the_write(name: str) -> None:
    made, taken = HOLDERS[name]
    end = f"y += 1\nloss = (y * y).sum()\nshow(loss, {taken}, y)\nloss.backward()\n"
    text = assert_cured(f"{HEAD}{made}\n{end}", "modified by an inplace operation", "x")
    assert "y += 1\n" in text


@pytest.mark.parametrize("names", ["globals()", "locals()", "vars()"])
def test_names_as_a_dictionary_are_read_behind_the_write(names: str) -> None:
    end = f"y += 1\nloss = (y * y).sum()\nshow(loss, {names}['view'])\nloss.backward()\n"
    assert_cured(f"{HEAD}view = y[:1]\n{end}", "modified by an inplace operation", "x")


def test_a_hook_that_got_the_result_gets_no_copy() -> None:
    made = "h = []\nm = torch.nn.Sigmoid()\nm.register_forward_hook(lambda m, given, out: h.append(out))\n"
    text = f"{HEAD}{made}z = m(x)\nz += 1\nloss = (z * z).sum()\nprint(h)\nloss.backward()\n"
    assert fixed(text) == text


def test_what_computes_holds_nothing() -> None:
    """Numbers, new memory and what is only printed are no holders: the write becomes an assignment."""
    made = "n = np.mean(y.detach().numpy())\nprint(y, x)\nt = y * 2\nd = {'a': y.sum()}\n"
    text = assert_cured(
        f"{HEAD}{made}y += 1\nloss = (y * y).sum()\nshow(loss, t, x, d['a'])\nprint(n)\nloss.backward()\n",
        "modified by an inplace operation",
        "x",
    )
    assert "y = y + 1\n" in text
