"""Images measured in a situation, methods that reconstruct them, and the choice of each method's setting."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.metrics import psnr, sample_uncertainty, sample_widening, ssim
from jaxgen.metrics.best import highest
from jaxgen.types import Array, Key

LEVEL = 0.9
"""Of the intervals whose coverage is reported."""
WIDENING = "{} widening"
"""Where the factor of a method's intervals is kept, along with its setting."""


class Case(NamedTuple):
    """Images measured in one situation, and what they truly are.

    Attributes:
        scan: what was measured, as the methods take it; ``scan.take(numbers)`` are some of its images.
        truth: ``[n, h, w, 1]``.
        key: one key for the samples of every method.
        label: the situation in words.
        data_range: the largest minus the least value an image can have, for PSNR and SSIM.
        window: values that figures show as black and as white.
        ignore: bool ``[n, h, w, 1]``: where images are not compared; None for nowhere.
        foreground: uncertainty is evaluated where the truth is above it.
    """

    scan: Any
    truth: np.ndarray
    key: Key
    label: str
    data_range: float
    window: tuple[float, float]
    ignore: np.ndarray | None = None
    foreground: float = -np.inf

    @property
    def left_out(self) -> np.ndarray:
        """Where images are not compared, bool ``[n, h, w, 1]``."""
        return np.zeros(self.truth.shape, bool) if self.ignore is None else self.ignore

    @property
    def seen(self) -> np.ndarray:
        """Where uncertainty is evaluated, bool ``[n, h, w, 1]``."""
        return (self.truth > self.foreground) & ~self.left_out

    def first(self, n: int) -> "Case":
        """Its first n images."""
        ignore = None if self.ignore is None else self.ignore[:n]
        few = np.arange(min(n, len(self.truth)))
        return self._replace(scan=self.scan.take(few), truth=self.truth[:n], ignore=ignore)

    def quality(self, x: np.ndarray) -> tuple[float, float]:
        """PSNR in dB and SSIM of reconstructions ``[n, h, w, 1]``, the means over images."""
        if self.ignore is None:
            peak, like = _quality(jnp.asarray(x), jnp.asarray(self.truth), self.data_range)
        else:
            found = _quality_of_rest(jnp.asarray(x), jnp.asarray(self.truth), jnp.asarray(self.ignore), self.data_range)
            peak, like = map(jnp.mean, found)
        return float(peak), float(like)


@functools.partial(jax.jit, static_argnums=2)
def _quality(x: Array, truth: Array, data_range: float) -> tuple[Array, Array]:
    return jnp.mean(psnr(x, truth, data_range=data_range)), jnp.mean(ssim(x, truth, data_range=data_range))


@functools.partial(jax.jit, static_argnums=3)
def _quality_of_rest(x: Array, truth: Array, ignore: Array, data_range: float) -> tuple[Array, Array]:
    """Of each image; pixels that are ignored have no error, and do not count."""
    shown = jnp.where(ignore, truth, x)
    ignored = jnp.mean(ignore.astype(jnp.float32), (1, 2, 3))
    peak = psnr(shown, truth, data_range=data_range) + 10 * jnp.log10(1 - ignored)
    return peak, ssim(shown, truth, data_range=data_range)


class Samples(NamedTuple):
    """Samples of what may have been measured.

    Attributes:
        images: ``[repeats, n, h, w, 1]``.
        mean: the image of their mean, ``[n, h, w, 1]``.
        misfit: ``|A x - y| / |y|`` of each, ``[repeats, n]``; None if it is not reported.
    """

    images: np.ndarray
    mean: np.ndarray
    misfit: np.ndarray | None = None


class Method(NamedTuple):
    """A way to reconstruct.

    Attributes:
        name: its name in tables.
        run: ``run(scan, setting) -> images [n, h, w, 1]``; of a method that draws,
            ``run(scan, setting, key, repeats) -> Samples``.
        settings: to choose from by PSNR on validation images, the one of a run that is not evaluated first; empty for
            a method that has none.
        draws: whether it draws samples.
        only: the situations it is meant for; empty for all.
        tuned_on: situations whose setting is that of another one, to save time.
    """

    name: str
    run: Callable[..., Any]
    settings: Sequence[Any] = ()
    draws: bool = False
    only: Sequence[str] = ()
    tuned_on: Mapping[str, str] = {}

    def fits(self, situation: str) -> bool:
        """Whether it is meant for a situation."""
        return not self.only or situation in self.only


def choose(
    methods: Sequence[Method], cases: Mapping[str, Case], *, calibration: int, repeats: int
) -> dict[str, dict[str, Any]]:
    """Every method's setting in every situation, by PSNR on validation images; and how much too narrow its samples are.

    Args:
        methods: the methods.
        cases: validation images by situation.
        calibration: the number of images that the width of intervals is taken from.
        repeats: the number of samples of each.

    Returns:
        ``{situation: {method: setting, "method widening": factor}}``, without methods that have no settings.
    """

    def best(method: Method, case: Case) -> Any:
        def score(setting: Any) -> float:
            found = method.run(case.scan, setting, case.key, 1) if method.draws else method.run(case.scan, setting)
            return case.quality(found.images[0] if method.draws else found)[0]

        return highest({setting: score(setting) for setting in method.settings})

    chosen: dict[str, dict[str, Any]] = {name: {} for name in cases}
    for method in methods:
        found: dict[str, Any] = {}
        for name in filter(method.fits, cases if method.settings else ()):
            source = method.tuned_on.get(name, name)
            if source not in found:
                found[source] = best(method, cases[source])
            chosen[name][method.name] = found[source]
            if method.draws:
                few = cases[name].first(calibration)
                drawn = method.run(few.scan, found[source], few.key, repeats)
                chosen[name][WIDENING.format(method.name)] = sample_widening(
                    drawn.images, few.truth, few.seen, level=LEVEL
                )
    return chosen


def sample_metrics(case: Case, drawn: Samples, factor: float) -> dict[str, float]:
    """The PSNR of one sample, what the worst sample leaves of the measurements, and how sure the samples are.

    Args:
        case: the images.
        drawn: samples of them.
        factor: what calibrated intervals are widened by.
    """
    one = float(np.mean([case.quality(sample)[0] for sample in drawn.images]))
    kept = {} if drawn.misfit is None else {"kept": float(drawn.misfit.max())}
    sure = sample_uncertainty(drawn.images, case.truth, case.seen, factor, level=LEVEL)
    return {"sample": one, **kept, **sure}
