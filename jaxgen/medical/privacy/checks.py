"""The checks of a release report, with their limits."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxgen.medical.privacy.report import Check, check

AUC, MEMBERSHIP, REFUSED = 0.97, 0.6, 0.5
"""Limits of the report: AUC of the verifier at least, of membership inference at most, accepted share at least."""
EXCESS, BLIND = 0.05, 0.5
"""The same: by how much a share may exceed that of new images, of whom a test that is of use takes fewer than half."""
SEEN = 0.3
"""The same: by how much copies of the over-trained generator must exceed those of new images."""
RATIO = 0.8
"""The same: distance to the nearest training image, over a new image's, at least."""


def release_checks(
    found: Mapping[str, Mapping[str, float]],
    generators: tuple[str, str],
    membership: float,
    accepted: Sequence[float],
    count: int,
    least: int,
) -> list[Check]:
    """The checks of images that two stages let through, each with its limit, and with the reason if it was not run.

    Shares are those above the share of new images of people whom no generator has seen: tests are not perfect, and what
    they say of strangers is no copy.

    Args:
        found: what was measured, by set of images: ``<generator>, unfiltered``, ``<generator>, two stages``,
            ``<generator>, new images`` and ``verifier, unseen people``.
        generators: the names of the over-trained and of the regular one.
        membership: the AUC of membership inference of the regular one.
        accepted: the share that the filter accepts, by class.
        count: images that passed the filter.
        least: how many are needed.
    """
    copying, regular = generators
    few = f"{count} images passed the filter, {least} are the least"

    def above(name: str, generator: str = regular, how: str = "two stages") -> dict[str, Any]:
        drawn, new = (found[f"{generator}, {one}"].get(name) for one in (how, "new images"))
        if new is None:
            return {"value": None, "reason": "the people of real images have no known codes"}
        if new > BLIND:
            return {"value": None, "reason": f"it takes {new:.0%} of new images for images of training people"}
        return {"value": None if drawn is None else drawn - new, "reason": few if generator == regular else "diverged"}

    verifier = found.get("verifier, unseen people", {}).get("auc")
    kind = "copies" if "copies" in found[f"{copying}, new images"] else "linked"
    ratio = found[f"{regular}, two stages"].get("pixel_ratio")
    return [
        check("verifier AUC, unseen people", verifier, AUC, least=True, reason="no second visits of test patients"),
        check("over-trained generator: copies seen", limit=SEEN, least=True, **above(kind, copying, "unfiltered")),
        check("membership AUC", membership, MEMBERSHIP),
        check("copies by known codes", limit=EXCESS, **above("copies")),
        check("linked by the embedding alone", limit=EXCESS, **above("alike")),
        check("correlated with a training image", limit=EXCESS, **above("correlated")),
        check("nearest training image, pixels", ratio, RATIO, least=True, reason=few),
        check("accepted share of the rarest class", min(accepted), REFUSED, least=True),
    ]
