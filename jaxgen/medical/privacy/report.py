"""A release report: what was checked before images leave the house, with what result, and what was not checked."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

State = Literal["passed", "failed", "not run"]


class Check(NamedTuple):
    """One check.

    Attributes:
        name: what was checked.
        state: whether it passed; a check that could not run never did.
        value: what was measured; None if the check was not run.
        limit: the threshold.
        least: whether the value must be at least the limit; at most otherwise.
        reason: why the check was not run; empty if it was.
    """

    name: str
    state: State
    value: float | None
    limit: float
    least: bool
    reason: str = ""


def check(name: str, value: float | None, limit: float, *, least: bool = False, reason: str = "") -> Check:
    """Compare a value with its limit.

    Args:
        name: what was checked.
        value: what was measured; None, or a value that is not finite, if the check could not run.
        limit: the threshold.
        least: the value must be at least the limit; by default at most.
        reason: why there is no value.

    Returns:
        The check: ``not run`` wherever there is no value to compare, with a reason.

    Raises:
        ValueError: if there is no value and no reason.

    Example:
        >>> check("copies", 0.02, 0.05).state, check("AUC of the verifier", 0.9, 0.97, least=True).state
        ('passed', 'failed')
        >>> check("copies", float("nan"), 0.05).state
        'not run'
    """
    if value is None:
        if not reason:
            raise ValueError(f"{name}: a check that was not run needs the reason")
        return Check(name, "not run", None, limit, least, reason)
    if not math.isfinite(value):
        return Check(name, "not run", None, limit, least, reason or f"the value is {value}")
    fits = value >= limit if least else value <= limit
    return Check(name, "passed" if fits else "failed", float(value), limit, least)


def verdict(checks: Sequence[Check]) -> str:
    """All in all: ``failed`` if any check failed, ``passed`` only if there are checks and all of them passed.

    Example:
        >>> verdict([check("a", 0.0, 1.0), check("b", None, 1.0, reason="no data")]), verdict([])
        ('incomplete', 'incomplete')
    """
    states = [one.state for one in checks]
    if "failed" in states:
        return "failed"
    return "passed" if states and set(states) == {"passed"} else "incomplete"


def to_json(checks: Sequence[Check]) -> dict[str, Any]:
    """The report as a dict that JSON can hold."""
    return {"verdict": verdict(checks), "checks": [one._asdict() for one in checks]}


def from_json(report: Mapping[str, Any]) -> list[Check]:
    """The checks of `to_json`; states are found anew from values, so that an edited file cannot say ``passed``.

    Raises:
        ValueError: if something is missing, or no number where one is due.

    Example:
        >>> known = [check("a", 0.5, 1.0), check("b", None, 1.0, reason="no data")]
        >>> from_json(to_json(known)) == known
        True
    """
    found = []
    try:
        for one in report["checks"]:
            value = None if one["value"] is None else float(one["value"])
            why = str(one.get("reason") or ("" if value is not None else "no reason is given"))
            found.append(check(str(one["name"]), value, float(one["limit"]), least=bool(one["least"]), reason=why))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no release report: {error}") from error
    return found


def lines(checks: Sequence[Check]) -> list[str]:
    """The report as a table.

    Example:
        >>> for line in lines([check("copies", 0.02, 0.05), check("AUC", None, 0.97, least=True, reason="no pairs")]):
        ...     print(line)
        check    value   limit     state
        copies   0.02    <= 0.05   passed
        AUC      -       >= 0.97   not run: no pairs
        release: incomplete
    """
    cells = [("check", "value", "limit", "state")]
    for one in checks:
        value = "-" if one.value is None else f"{one.value:.3g}"
        state = f"{one.state}: {one.reason}" if one.reason else one.state
        cells.append((one.name, value, f"{'>=' if one.least else '<='} {one.limit:g}", state))
    wide = [max(len(row[i]) for row in cells) for i in range(3)]
    table = ["   ".join([*(row[i].ljust(wide[i]) for i in range(3)), row[3]]).rstrip() for row in cells]
    return [*table, f"release: {verdict(checks)}"]
