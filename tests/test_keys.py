"""No key is used twice: none feeds both `split` and `fold_in`, and none is drawn from after it was split.

``split(key, n)[i]`` and ``fold_in(key, i)`` are one and the same key, so a key that feeds both gives equal draws where
independent ones are meant. The source is read: within a function, along each of its paths, a name with "key" in it
is followed until it is bound anew. A key may be handed to several functions, which compare on the same draws.
"""

import ast
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parent.parent
DRAWS = {
    *("normal", "uniform", "choice", "randint", "permutation", "bernoulli", "categorical", "bits", "gamma", "poisson"),
    *("truncated_normal", "rademacher", "exponential"),
}
# Read and found right: where, and why.
RIGHT = {
    ("samplers/editing.py", "move"): "two branches of lax.cond, of which one runs",
    ("experiments/anomaly/denoising_autoencoder.py", "corrupt"): "a table of functions, of which one runs",
    ("benchmarks/flows.py", "_case"): "the same noise on purpose, for the peer",
}
Ways = set[tuple[str, ...]]


def _then(first: Ways, second: Ways) -> Ways:
    return {a + b for a in first for b in second}


def _use(call: ast.Call) -> str:
    """What a call does with a key that is its first argument."""
    owner = getattr(call.func, "value", None)
    owner = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in ("len", "key_data"):
        return ""
    if owner in ("random", "draws"):
        return name if name in ("split", "fold_in") else "draw" if name in DRAWS else "passed"
    return "passed"


def _parameters(function: ast.FunctionDef | ast.Lambda) -> set[str]:
    return {a.arg for a in (*function.args.args, *function.args.kwonlyargs, *function.args.posonlyargs)}


def _names(node: ast.AST | None) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} if node is not None else set()


def _bound(statements: list[ast.stmt]) -> set[str]:
    """Names that statements bind, those of functions within them left out."""
    found: set[str] = set()
    for statement in statements:
        if isinstance(statement, ast.FunctionDef):
            continue
        for target in getattr(statement, "targets", [getattr(statement, "target", None)]):
            found |= _names(target)
        for inner in ("body", "orelse", "finalbody"):
            found |= _bound(getattr(statement, inner, []))
    return found


def _of_expression(node: ast.AST | None, key: str) -> Ways:
    if node is None:
        return {()}
    if isinstance(node, ast.IfExp):
        either = _of_expression(node.body, key) | _of_expression(node.orelse, key)
        return _then(_of_expression(node.test, key), either)
    if isinstance(node, ast.Lambda) and key in _parameters(node):
        return {()}
    if any(key in _names(generator.target) for generator in getattr(node, "generators", ())):
        return {()}
    ways: Ways = {()}
    parts = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Call):
        use, given = _use(node), [*node.args, *(keyword.value for keyword in node.keywords)]
        given = [a.value if isinstance(a, ast.Starred) else a for a in given]
        taken = given if use == "passed" else given[:1]
        if use and any(isinstance(a, ast.Name) and a.id == key for a in taken):
            ways = {(use,)}
    for part in parts:
        if isinstance(part, ast.expr | ast.comprehension | ast.keyword):
            ways = _then(ways, _of_expression(part, key))
    return ways


def _of_block(statements: list[ast.stmt], key: str) -> tuple[Ways, Ways]:
    """The uses of a key along each way through statements: ways that go on, and ways that have ended."""
    on: Ways = {()}
    ended: Ways = set()
    for statement in statements:
        if isinstance(statement, ast.FunctionDef):
            if key not in _parameters(statement) | _bound(statement.body):
                on = _then(on, set.union(*_of_block(statement.body, key)))
            continue
        if isinstance(statement, ast.If):
            on = _then(on, _of_expression(statement.test, key))
            yes, no = _of_block(statement.body, key), _of_block(statement.orelse, key)
            ended |= _then(on, yes[1] | no[1])
            on = _then(on, yes[0] | no[0])
            continue
        if isinstance(statement, ast.For | ast.While | ast.With | ast.Try):
            on = _then(on, _of_expression(getattr(statement, "iter", getattr(statement, "test", None)), key))
            if isinstance(statement, ast.For) and key in _names(statement.target):
                ended, on = ended | on, {()}
            inner = _of_block([*statement.body, *getattr(statement, "orelse", [])], key)
            ended |= _then(on, inner[1])
            on = _then(on, inner[0])
            continue
        for part in ast.iter_child_nodes(statement):
            on = _then(on, _of_expression(part, key))
        if key in _bound([statement]):
            ended, on = ended | on, {()}
        if isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break):
            return set(), ended | on
    return on, ended


def reused(source: str) -> list[tuple[str, str]]:
    """The functions of a source, and the keys that they use twice."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            for key in sorted(n for n in _parameters(function) | _bound(function.body) if "key" in n):
                for way in set.union(*_of_block(function.body, key)):
                    split, folded, drawn, passed = (way.count(u) for u in ("split", "fold_in", "draw", "passed"))
                    twice = split > 1 or drawn > 1 or (split and drawn) or (passed and (split or drawn))
                    if twice or (folded and (split or drawn or passed)):
                        found.append((function.name, key))
                        break
    return found


SOURCES = sorted(path for part in ("jaxgen", "experiments", "benchmarks") for path in (ROOT / part).rglob("*.py"))


def test_no_function_uses_a_key_twice():
    found = {
        (path.relative_to(ROOT).as_posix().removeprefix("jaxgen/"), function)
        for path in SOURCES
        for function, _ in reused(path.read_text())
    }
    assert found - set(RIGHT) == set()
    assert set(RIGHT) - found == set()


@pytest.mark.parametrize(
    "body",
    [
        "a, b = jax.random.split(key)\n    return a, jax.random.fold_in(key, 1)",
        "drawn = draw(key)\n    return drawn, jax.random.fold_in(key, 1)",
        "a = jax.random.normal(key)\n    return a + jax.random.uniform(key)",
        "x = draws.normal(key, (3,))\n    return sample(step, key, x)",
        "if n:\n        return 0\n    a = draws.split(key, 2)\n    return a, jax.random.split(key, 3)",
        "def once(i):\n        return draws.fold_in(key, i)\n    return once, jax.random.split(key)",
    ],
)
def test_keys_used_twice_are_found(body):
    assert reused(f"def f(key, n):\n    {body}\n") == [("f", "key")]


@pytest.mark.parametrize(
    "body",
    [
        "a, b = jax.random.split(key)\n    return jax.random.normal(a), jax.random.normal(b)",
        "if key.ndim == 0:\n        return jax.random.split(key, n)\n    return jax.vmap(jax.random.split)(key)",
        "return jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)",
        "key, a = jax.random.split(key)\n    key, b = jax.random.split(key)\n    return a, b, key",
        "return jax.random.normal(key) if n else jax.random.uniform(key)",
        "return first(key), second(key)",
    ],
)
def test_keys_used_once_are_not(body):
    assert reused(f"def f(key, n):\n    {body}\n") == []


def test_a_split_key_is_a_folded_one():
    """Why the two must not be mixed; and a split into more begins with the split into fewer."""
    key = jax.random.key(0)
    parts = jax.random.key_data(jax.random.split(key, 4))
    assert (jax.random.key_data(jax.random.fold_in(key, 1)) == parts[1]).all()
    assert (jax.random.key_data(jax.random.split(key, 3)) == parts[:3]).all()
