"""Whether images of computed chest radiographs show what their prompts say, by exact measurement."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.data.captions import WORDINGS, Report
from jaxgen.data.generated import DrawnSource
from jaxgen.data.phantoms import FINDINGS, Finding
from jaxgen.data.source import Source

Found = Sequence[tuple[Finding, ...]]


def reports_of(parts: Sequence[Source], wordings: Mapping[str, Sequence[str]] = WORDINGS) -> list[Report] | None:
    """The reports of computed radiographs, one source after the other; None of data that have none."""
    drawn = [part for part in parts if isinstance(part, DrawnSource) and part.has_reports]
    if len(drawn) < len(parts):
        return None
    return [part.report(i, wordings) for part in drawn for i in range(len(part))]


def agreement(reports: Sequence[Report], found: Found) -> dict[str, float]:
    """How far images show what their reports say.

    Args:
        reports: one per image.
        found: what was measured in each.

    Returns:
        ``agreement``, the mean over the findings of the share of images that show a finding which was asked for, on
        whatever side, and this share by the name of the finding; of those that show it ``side``, ``size`` and ``zone``,
        the shares in which it is as asked for; ``false_findings``, the share of denied findings that are there. What
        was never asked for is left out.

    Example:
        >>> reports = [Report("", (Finding("nodule", "left"),), ("effusion",))] * 2
        >>> agreement(reports, [(Finding("nodule", "right"), Finding("effusion", "left")), ()])
        {'agreement': 0.5, 'nodule': 0.5, 'side': 0.0, 'false_findings': 0.5}
    """
    counted: dict[str, list[bool]] = {name: [] for name in (*FINDINGS, "side", "size", "zone", "false_findings")}
    for report, there in zip(reports, found, strict=True):
        counted["false_findings"] += [any(finding.name == name for finding in there) for name in report.denied]
        for name in dict.fromkeys(finding.name for finding in report.stated):
            asked = [finding for finding in report.stated if finding.name == name]
            seen = [finding for finding in there if finding.name == name]
            counted[name].append(bool(seen))
            if not seen or not asked[0].side:
                continue
            counted["side"].append({f.side for f in asked} == {f.side for f in seen})
            for kind in ("size", "zone"):
                pairs = [(getattr(a, kind), getattr(s, kind)) for a in asked for s in seen if a.side == s.side]
                counted[kind] += [one == other for one, other in pairs if one]
    shares = {name: float(np.mean(values)) for name, values in counted.items() if values}
    named = [shares[name] for name in FINDINGS if name in shares]
    return ({"agreement": float(np.mean(named))} if named else {}) | shares


def nearest_captions(prompts: np.ndarray, captions: np.ndarray, size: int) -> np.ndarray:
    """For each prompt the training caption that shares most of its words (Jaccard index), the first of equals.

    Args:
        prompts: tokens ``[n, m]``.
        captions: tokens ``[k, m]``.
        size: of the vocabulary.

    Returns:
        Indices ``[n]``.

    Example:
        >>> nearest_captions(np.array([[4, 5]]), np.array([[5, 6], [4, 5]]), 7).tolist()
        [1]
    """

    def held(tokens: np.ndarray) -> np.ndarray:
        sets = np.zeros((len(tokens), size), np.float32)
        np.put_along_axis(sets, tokens, 1, 1)
        return sets

    a, b = held(prompts), held(captions)
    common = a @ b.T
    return np.argmax(common / (a.sum(1)[:, None] + b.sum(1)[None] - common), 1)
