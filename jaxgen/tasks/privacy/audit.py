"""What a generator gives away: links to its training people, copies, membership; before and after filters."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxgen.data import Source
from jaxgen.data.covariates import covariates_of
from jaxgen.data.source import Subset, evenly_spaced, patients_of
from jaxgen.data.visits import pairs_of, people_of, strangers_of
from jaxgen.experiment import Run, chosen_number
from jaxgen.medical.privacy.copies import code_distance, correlated_copies
from jaxgen.medical.privacy.linking import (
    Links,
    pixel_distance,
    threshold_at_acceptance,
    threshold_at_miss_rate,
    two_stages,
)
from jaxgen.medical.privacy.membership import membership_auc, repeated_loss
from jaxgen.medical.privacy.pairs import Pairs
from jaxgen.medical.privacy.sampling import PrivateSamples, private_samples
from jaxgen.metrics.authenticity import authenticity
from jaxgen.metrics.memorisation import copying_test, memorisation_ratio
from jaxgen.tasks import covariates, latent, latent_generation
from jaxgen.tasks.images import real_images
from jaxgen.tasks.privacy.data import MOST, in_bytes, labels_like, members_of, reconstructed, several
from jaxgen.tasks.privacy.training import Recognition
from jaxgen.types import Key

STRANGERS = 5
"""Pairs of two people for each pair of one."""
MOST_MEMBERS = 600
LEAST = 8
"""Images that rates are computed of."""


class People(Recognition):
    """The networks with the thresholds that validation images set, of which one is seen as drawn images are.

    Args:
        run: the run, with its stages trained.

    Attributes:
        threshold: of the verifier.
        alike: of the cosine of embeddings.
        spread: standard error of each entry of a measured code, None where people have no known codes.
        nearest: the distance of codes up to which an image is a copy.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        x, source = several(run, run.splits.validation)
        rate, seen = run.config.miss_rate, reconstructed(run, x)
        fitted = threshold_at_miss_rate(self.pairs(x, source, self.verify, seen).same, rate)
        self.threshold = chosen_number(run, "threshold", default=fitted)
        self.alike = threshold_at_miss_rate(self.pairs(x, source, self.cosine, seen).same, rate)
        self.spread: np.ndarray | None = None
        if run.config.exact:
            found, true = self.codes(seen), covariates_of(source)
            self.spread = (found - true).std(0)
            own = np.sqrt(np.mean(((found - true) / self.spread) ** 2, axis=1))
            self.nearest = float(np.quantile(own, 1 - rate))

    def cosine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Cosines ``[n]`` of the embeddings of pairs."""
        return np.sum(self.embed(a) * self.embed(b), axis=-1)

    def pairs(self, x: np.ndarray, source: Source, score: Any, seen: np.ndarray | None = None) -> Pairs:
        """Scores of all pairs of one person, and of `STRANGERS` times as many of two; the first image may be `seen`."""
        first = x if seen is None else seen
        people = people_of(source)
        same = pairs_of(people)
        apart = strangers_of(people, STRANGERS * max(len(same), 1), seed=self._run.config.seed)
        return Pairs(
            *(score(first[which[:, 0]], x[which[:, 1]]) if len(which) else np.zeros(0) for which in (same, apart))
        )

    def held_out_pairs(self) -> Pairs | None:
        """Scores of the verifier on people of the test set; None if they have no second visits."""
        x, source = several(self._run, self._run.splits.test)
        if patients_of(source) is None or not len(pairs_of(people_of(source))):
            return None
        return self.pairs(x, source, self.verify)


class Audit:
    """One generator, its images with and without filters, and what they say of its training people.

    Args:
        run: the run.
        people: the networks.
        name: the stage of the generator.

    Attributes:
        members: its training images, as bytes.
        samples: images of two-stage sampling, and what it took.
        links: of the images drawn first, filtered or not.
        sets: images by filter.
        metrics: of each set, and of new images: held-out ones as the autoencoder reconstructs them, since what is drawn
            has its blur.
        membership: the AUC of membership inference.
    """

    def __init__(self, run: Run, people: People, name: str) -> None:
        self._run, self._people, self.name = run, people, name
        self._source = members_of(run, name)
        self.members = in_bytes(run, self._source).arrays["image"]
        held_out, self._new = several(run, run.splits.test)
        self._held_out = reconstructed(run, held_out)
        self._link = two_stages(people.embed, people.verify, self.members, people.threshold)
        some = evenly_spaced(len(self.members), MOST)
        self._known = people.embed(self.members), self.members[some].astype(np.float32) / 127.5 - 1
        draw_key, loss_key = jax.random.split(jax.random.fold_in(run.key, len(name)))
        self.samples = sampled(run, self._link, draw_key, name, labels_like(self._source, run.config.samples))
        first = self.samples.first
        self.links: Links = self._link(first)
        self.accepted = float(np.mean(~self.samples.first_linked))
        nearness = pixel_distance(self._known[1], np.inf)(first).score
        kept = nearness < threshold_at_acceptance(nearness, self.accepted)
        self.sets = {"unfiltered": first, "two stages": self.samples.images, "pixel distance": first[kept]}
        self.metrics = {f"{name}, {how}": self._rates(x) for how, x in self.sets.items()}
        for how in ("two stages", "pixel distance"):
            self.metrics[f"{name}, {how}"]["acceptance"] = self.accepted
        self.membership = self.metrics[f"{name}, unfiltered"]["membership"] = self._membership(loss_key)
        self.metrics[f"{name}, new images"] = self._rates(self._held_out)

    def _rates(self, x: np.ndarray) -> dict[str, float]:
        """What is measured of images compared with the training images of this generator."""
        found: dict[str, float] = {"images": len(x)}
        if len(x) < LEAST or not np.isfinite(x).all():
            return found
        people, (known, pixels) = self._people, self._known
        flat = [images.reshape(len(images), -1) for images in (x, pixels, self._held_out)]
        drawn, new = people.embed(x), people.embed(self._held_out)
        if people.spread is not None:
            codes = covariates_of(self._source)
            distance = code_distance(people.codes(x), codes, people.spread).min(1)
            found["copies"] = float(np.mean(distance <= people.nearest))
        return found | {
            "linked": float(np.mean(self._link(x).linked)),
            "alike": float(np.mean((drawn @ known.T).max(1) >= people.alike)),
            "correlated": correlated_copies(drawn, known, new),
            "pixel_ratio": memorisation_ratio(*flat),
            "closer": copying_test(*flat).closer,
            "authenticity": authenticity(drawn, known),
        }

    def _membership(self, key: Key) -> float:
        """The AUC of membership inference: images of the generator's people against those of the test set."""
        run, name = self._run, self.name
        model = latent_generation.make_model(run, run.params["autoencoder"])
        loss, params = model.objectives[0].loss, run.params[name]
        some = jax.jit(lambda params, batch: repeated_loss(loss, params, key, batch, run.config.membership_draws))
        n, found = min(len(self._source), len(self._new), MOST_MEMBERS), []
        for source in (self._source, self._new):
            part = real_images(run, Subset(source, evenly_spaced(len(source), n)))
            told = covariates.conditions_of(part, run.facts)
            found.append(np.asarray(some(params, {"code": latent.codec(run).encode(part["image"]), **told})))
        return membership_auc(*found)


def sampled(run: Run, link: Any, key: Key, name: str, label: np.ndarray) -> PrivateSamples:
    """Images of classes, drawn by the generator of a stage and filtered."""
    draw = latent_generation.drawing(run, stage=name)

    def some(keys: Key, label: np.ndarray) -> np.ndarray:
        cond: Mapping[str, np.ndarray] = {"label": label} if run.facts.classes else {}
        return draw(keys, len(keys), cond)

    return private_samples(some, link, key, label, run.config.most_draws)
