"""Images drawn from captions of unseen images, compared with unguided ones, and with those of the nearest caption."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data import Everything
from jaxgen.data.agreement import Found, agreement, nearest_captions, reports_of
from jaxgen.data.captions import HELD_OUT, Report, texts_of
from jaxgen.data.phantoms import FINDINGS, measure_radiograph
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.figures import Figure
from jaxgen.figures import rows as draw_rows
from jaxgen.metrics import pairwise_similarity
from jaxgen.tasks import features, generation, images, text

PAIRS = 200
"""Pairs of images whose likeness is measured."""
SHOWN = 6
"""Captions whose images are shown."""

DESCRIBE = {
    "agreement": Metric("Agreement", "higher", "share of findings asked for that are measured, mean of the kinds"),
    "side": Metric("Side", "higher", "of these, on the side asked for"),
    "size": Metric("Size", "higher", "of effusions, of the size asked for"),
    "zone": Metric("Zone", "higher", "of nodules and opacities, in the zone asked for"),
    "false_findings": Metric("False findings", "lower", "share of denied findings that are measured"),
    **{name: Metric(name.capitalize(), "higher", "share of images asked to show it that do") for name in FINDINGS},
}


def findings_in(run: Run, drawn: np.ndarray) -> Found:
    """What is measured in images ``[n, h, w, 1]`` in [-1, 1] of computed radiographs."""
    (low,), (high,) = run.facts.value_range
    raw = low + (np.nan_to_num(drawn[..., 0]) + 1) / 2 * (high - low)
    return [measure_radiograph(image).findings for image in raw]


class Drawn:
    """Images of the captions of all held-out images, drawn once.

    Args:
        run: the run.

    Attributes:
        captions: one per held-out image.
        reports: what they say, of computed radiographs; else None.
        sets: images by method.
    """

    def __init__(self, run: Run) -> None:
        splits = run.splits
        self.run, self.draw = run, text.drawing(run, exactly=True)
        self.parts = (splits.test,) if isinstance(run.config.data, Everything) else (splits.test, splits.validation)
        self.captions = [caption for part in self.parts for caption in texts_of(part)]
        self.reports = reports_of(self.parts)
        self.real = generation.RealImages(run, features.Features(run))
        self.captions, count = self.captions[: self.real.count], self.real.count
        tokens = text.tokens_of(run, self.captions)
        known = text.tokens_of(run, texts_of(splits.train))
        near = nearest_captions(tokens, known, 1 + max(tokens.max(), known.max()))
        empty = text.tokens_of(run, [""] * count)
        self.sets = {
            "text": self.draw(run.key, tokens, run.config.guidance),
            "unconditional": self.draw(run.key, empty, 1.0),
            "nearest caption": _chosen(run, near),
        }

    def agreements(self) -> dict[str, dict[str, float]]:
        """Of computed radiographs, how far images show what is asked for, and that under wordings never trained on."""
        if self.reports is None:
            return {}
        reports, count = self.reports[: self.real.count], self.real.count
        sets = {**self.sets, "held-out images": self.real.held_out}
        found = {name: agreement(reports, findings_in(self.run, drawn)) for name, drawn in sets.items()}
        reworded = (reports_of(self.parts, HELD_OUT) or [])[:count]
        return {
            **found,
            "text, new wording": agreement(reworded, findings_in(self.run, asked(self.run, self.draw, reworded))),
        }


def asked(run: Run, draw: text.Draw, reports: Sequence[Report]) -> np.ndarray:
    """Images of reports."""
    return draw(run.key, text.tokens_of(run, [report.text for report in reports]), run.config.guidance)


def _likeness(drawn: np.ndarray) -> float:
    return pairwise_similarity(jnp.asarray(drawn), data_range=2, most=PAIRS).value


def _chosen(run: Run, indices: np.ndarray) -> np.ndarray:
    """Training images by their numbers."""
    source = images.Subset(run.splits.train, indices)
    return images.resized(source, run.config.size, run.facts.value_range).arrays["image"]


def evaluate(run: Run) -> Evaluation:
    """Samples of the captions of held-out images, with the metrics of every set."""
    drawn = Drawn(run)
    compared = generation.Comparison(run, lambda n: drawn.sets, gaussian=False, real=drawn.real)
    likeness = {name: {"likeness": _likeness(x)} for name, x in compared.sets.items()}
    shown = prompted(run, drawn.draw, list(dict.fromkeys(drawn.captions))[:SHOWN])
    found = drawn.agreements()
    about = Metric(
        "MS-SSIM of pairs", "", "mean of random pairs, lower for a more diverse set; real images are the mark"
    )
    return compared.evaluation(
        caption="Images drawn from captions of held-out images.",
        metrics=generation.joined(likeness, found),
        figures={"prompts": shown},
        headline=_headline(found) if found else _distances(compared.metrics),
        describe=(DESCRIBE if found else {}) | {"likeness": about},
    )


def prompted(run: Run, draw: text.Draw, prompts: Sequence[str], columns: int = 8) -> Figure:
    """A row of images for each prompt."""
    tokens = np.repeat(text.tokens_of(run, prompts), columns, 0)
    drawn = draw(jax.random.key(run.config.seed), tokens, run.config.guidance)
    rows = dict(zip(prompts, drawn.reshape(len(prompts), columns, *drawn.shape[1:]), strict=True))
    return draw_rows(rows, f"Images of captions of held-out images, guidance {run.config.guidance:g}.")


def _headline(found: Mapping[str, Mapping[str, float]]) -> str:
    ours, chance, near = (found[name] for name in ("text", "unconditional", "nearest caption"))
    return (
        f"{ours.get('agreement', 0):.0%} of the findings asked for are there ({ours.get('side', 0):.0%} of them on the "
        f"right side), without a prompt {chance.get('agreement', 0):.0%}, in the training image of the nearest caption "
        f"{near.get('agreement', 0):.0%}; {ours.get('false_findings', 0):.0%} of denied findings are there, without a "
        f"prompt {chance.get('false_findings', 0):.0%}."
    )


def _distances(metrics: Mapping[str, Mapping[str, float]]) -> str:
    ours, chance, real = (metrics[name]["frechet"] for name in ("text", "unconditional", "held-out images"))
    return (
        f"Frechet distance to the training images {ours:.3g} from captions of held-out images, without a prompt "
        f"{chance:.3g}, of the held-out images themselves {real:.3g}."
    )
