"""Images drawn from prompts and hints of unseen images: whether they follow the hint, and still the prompt."""

from collections.abc import Sequence

import jax
import numpy as np

from jaxgen.data import Everything
from jaxgen.data.agreement import agreement, reports_of
from jaxgen.data.captions import texts_of
from jaxgen.data.following import coloured_agreement, coloured_in, contour_agreement, nearest_hints, said
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.figures import Figure
from jaxgen.figures.control import controlled, prompted
from jaxgen.tasks import features, generation, latent, text
from jaxgen.tasks.text import control
from jaxgen.tasks.text import evaluation as of_text

DESCRIBE = {
    "contour_iou": Metric("Contour IoU", "higher", "of the contour in the image and the hint, mean of the images"),
    "shape_iou": Metric("Shape IoU", "higher", "of the shape in the image and in the held-out image of that hint"),
    "colours": Metric("Colours", "higher", "share of images in which shape and ground have the colours asked for"),
    **of_text.DESCRIBE,
}


class Drawn:
    """Images of the captions and hints of all held-out images, drawn once: `sets`, by method.

    Args:
        run: the run.
    """

    def __init__(self, run: Run) -> None:
        splits = run.splits
        self.run, self.draw, base = run, control.drawing(run, exactly=True), text.drawing(run, exactly=True)
        self.real = generation.RealImages(run, features.Features(run))
        self.parts = (splits.test,) if isinstance(run.config.data, Everything) else (splits.test, splits.validation)
        self.captions = [caption for part in self.parts for caption in texts_of(part)][: self.real.count]
        found = [control.hinted(run, part).arrays["control"] for part in self.parts]
        self.hints = np.concatenate(found)[: self.real.count]
        codec, known = latent.codec(run), control.hinted(run).arrays
        self.sets = {
            "control": self.images(self.captions),
            "control, no prompt": self.images([""] * self.real.count),
            "no control": base(jax.random.fold_in(run.key, 0), text.tokens_of(run, self.captions), run.config.guidance),
            "nearest hint": known["image"][nearest_hints(self.hints, known["control"])] / np.float32(127.5) - 1,
            "reconstructed": codec.decode(codec.encode(self.real.held_out)),
        }

    def images(self, captions: Sequence[str], first: int | None = None, seed: int = 0) -> np.ndarray:
        """Images of captions, each under its hint, or all under the hint of the number `first`."""
        hints = self.hints[: len(captions)] if first is None else self.hints[[first] * len(captions)]
        key = jax.random.fold_in(self.run.key, seed)
        return self.draw(key, text.tokens_of(self.run, captions), self.run.config.guidance, hints)

    def metrics(self, drawn: np.ndarray) -> dict[str, float]:
        """How far images follow hints and prompts, as far as that can be measured: not hints that the user made."""
        unit, real = ((np.nan_to_num(x) + 1) / 2 for x in (drawn, self.real.held_out))
        asked, reports = coloured_in(self.parts), reports_of(self.parts)
        if asked is not None:
            return coloured_agreement(unit, self.hints, real, asked[: len(drawn)])
        found = {} if "control" in self.parts[0][0] else contour_agreement(unit, self.hints)
        found |= {} if reports is None else agreement(reports[: len(unit)], of_text.findings_in(self.run, drawn))
        return found

    def figures(self) -> dict[str, Figure]:
        """Images of several hints, and of one hint under several prompts."""
        captions, caption = self.captions[:8], f"Images of held-out hints, guidance {self.run.config.guidance:g}"
        sets = {
            **{f"drawn, {i}": self.images(captions, seed=i) for i in (1, 2, 3)},
            "drawn, next prompt": self.images([*captions[1:], captions[0]], seed=1),
            "drawn, no prompt": self.images([""] * len(captions), seed=1),
            "no control": self.sets["no control"],
            "held-out image": self.real.held_out,
        }
        alone = {prompt: self.images([prompt] * 8, 0, 1) for prompt in list(dict.fromkeys(captions))[:6]}
        return {
            "controlled": controlled(self.hints, captions, sets, f"{caption}."),
            "prompts": prompted(self.hints[0], alone, f"{caption}: one hint under several prompts."),
        }


def evaluate(run: Run) -> Evaluation:
    """Images under the control of held-out hints, with the metrics of every set."""
    drawn = Drawn(run)
    compared = generation.Comparison(run, lambda n: drawn.sets, gaussian=False, real=drawn.real)
    found = {name: drawn.metrics(x) for name, x in compared.sets.items()}
    sentence = said(*(found[name] for name in ("control", "no control", "held-out images")))
    return compared.evaluation(
        caption="Images of captions and hints of held-out images.",
        metrics=found,
        figures=drawn.figures(),
        headline=sentence or compared.headline("control", "no control", "images without control"),
        describe={name: metric for name, metric in DESCRIBE.items() if name in found["control"]},
    )
