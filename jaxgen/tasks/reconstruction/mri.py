"""MRI: slices measured at several accelerations, seen by one coil or by several, and k-space that a person brings.

Real images are seen by one coil, complex ones (with a smooth phase that is not known) by several
(`jaxgen.medical.reconstruction.mri_scan`). The prior has learned real images; the imaginary part that is left once the
smooth phase is taken out has a Gaussian of small standard deviation for prior.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data import Source, Splits, most_of
from jaxgen.data.image import Image
from jaxgen.data.kspace import read_whole_kspace
from jaxgen.experiment import Run
from jaxgen.imaging.coils import combine_coils
from jaxgen.imaging.fourier import centred_ifft2
from jaxgen.imaging.mri import zero_filled
from jaxgen.imaging.operators import LinearOperator, inner_product
from jaxgen.imaging.sampling_masks import MASKS
from jaxgen.medical.reconstruction import residual
from jaxgen.medical.reconstruction.cases import Case, Method
from jaxgen.medical.reconstruction.mri_scan import (
    MRIScan,
    Received,
    coil_maps,
    magnitude,
    mri_system,
    poor_fit,
    receive,
    scan_operator,
    simulate_coils,
    simulate_real,
)
from jaxgen.medical.reconstruction.priors import any_size, nearly_real
from jaxgen.metrics.best import nearest
from jaxgen.tasks import diffusion, images
from jaxgen.tasks.reconstruction import posterior
from jaxgen.types import Array, Batch, Denoise, Key, Params

FOREGROUND = 0.05
"""Uncertainty is evaluated where the true magnitude is above it."""


def measure(config: images.ImageConfig, splits: Splits) -> images.ImageFacts:
    """The facts of the images; the prior has one channel, whatever they have."""
    return dataclasses.replace(images.measure_images(config, splits), image_channels=1)


def prepare(config: images.ImageConfig) -> images.Prepare:
    """On the device: bytes to [-1, 1], mirrored at random; colours are averaged."""
    plain = images.prepare_images(config)

    def prepare(key: Key, batch: Batch) -> Batch:
        batch = plain(key, batch)
        return {**batch, "image": batch["image"].mean(-1, keepdims=True)}

    return prepare


def prior(run: Run, params: Params, scan: MRIScan) -> Denoise:
    """The trained network on images of any size, with a Gaussian prior of the imaginary part if there is one."""
    config = run.config
    known = any_size(diffusion.denoise_with(run, params), config.patch * 2 ** (len(config.channels) - 1))
    return known if scan.channels == 1 else nearly_real(known, diffusion.make_path(config), 2 * config.imaginary)


def problem(run: Run) -> posterior.Problem:
    """MRI, as posterior methods need it; samples report what they leave of k-space."""

    def finish(scan: MRIScan, operator: LinearOperator, y: Array, x: Array) -> tuple[Array, Array]:
        left = residual(operator, y, x)
        return x, jnp.sqrt(inner_product(left, left) / (4 * inner_product(scan.y, scan.y)))

    return posterior.Problem(
        kind="mri",
        system=mri_system,
        prior=lambda params, scan: prior(run, params, scan),
        channels=lambda scan: scan.channels,
        finish=finish,
        view=lambda x: np.asarray(magnitude(jnp.asarray(x))),
    )


def baselines(
    run: Run,
    reconstruct: Callable[[LinearOperator, Array, Array], Mapping[str, Array]],
    settings: Mapping[str, Sequence[float]],
) -> tuple[Method, ...]:
    """Methods without a prior, in one program.

    Args:
        run: the run.
        reconstruct: ``(A, y, setting) -> {name: u}``, where ``A u`` should be y; complex images in two channels.
        settings: to choose from on validation slices, by the name of the method; empty for none.
    """

    @jax.jit
    def program(scan: MRIScan, setting: Array) -> dict[str, Array]:
        found = reconstruct(scan_operator(scan), scan.y, setting)
        return {name: jnp.sqrt(jnp.sum(u**2, -1, keepdims=True)) for name, u in found.items()}

    def method(name: str) -> Method:
        def one(scan: MRIScan, setting: float | None) -> np.ndarray:
            return posterior.in_chunks(run, lambda part: program(part, setting or 0.0)[name], scan)

        return Method(name, one, settings[name])

    return tuple(map(method, settings))


Brought = Mapping[str, tuple[Received, np.ndarray]]
"""By situation: undersampled k-space of a person, and the magnitude ``[1, h, w, 1]`` of all of it."""


def cases(run: Run) -> tuple[dict[str, Case], dict[str, Case]]:
    """Validation and test slices in every situation.

    k-space from a scanner has no validation slices: simulated coils, estimated from as much noise, stand for it.
    """
    config, of_person = run.config, brought(run.config, jax.random.fold_in(run.key, 2))
    noise = {name: received.noise for name, (received, _) in of_person.items()}
    scan_key, draw_key = jax.random.split(jax.random.fold_in(run.key, 0))
    validation, x = _simulated(run, run.splits.validation, config.tuning, scan_key, noise)
    tuned = {name: _case(name, scan, (x + 1) / 2, draw_key) for name, scan in validation.items()}
    scans, x = _simulated(run, run.splits.test, most_of(config.data, config.cases), jax.random.fold_in(run.key, 1), {})
    measured = {name: (scan, (x + 1) / 2, 1.0) for name, scan in scans.items()}
    for name, (received, truth) in of_person.items():
        measured[name] = (received.scan, truth, float(np.quantile(truth, 0.999)))
    test = {
        name: _case(name, scan, truth, jax.random.fold_in(run.key, 3 + i), brightest)
        for i, (name, (scan, truth, brightest)) in enumerate(measured.items())
    }
    return tuned, test


def _case(name: str, scan: MRIScan, truth: np.ndarray, key: Key, brightest: float = 1.0) -> Case:
    return Case(scan, truth, key, name, brightest, (0.0, brightest), foreground=FOREGROUND)


def _simulated(
    run: Run, source: Source, count: int | None, key: Key, noise: Mapping[str, float]
) -> tuple[dict[str, MRIScan], np.ndarray]:
    """What is measured of slices of a split, in every situation, and the slices in [-1, 1].

    Situations in `noise` are simulated with noise of that standard deviation.
    """
    config = run.config
    x = images.real_images(run, source, count)["image"].mean(-1, keepdims=True)
    keys = jax.random.split(key, len(x))
    scans = {f"{a}x": simulate_real(keys, x, config.mask, a) for a in config.accelerations}
    for a in config.accelerations:
        scans[f"{a}x coils"] = simulate_coils(keys, x, config.mask, a, config.coils, config.phase)
        if (name := f"{a}x measured") in noise:
            scans[name] = simulate_coils(keys, x, config.mask, a, config.coils, config.phase, noise[name])
    return scans, x


def brought(config: Any, key: Key) -> Brought:
    """The fully sampled k-space that ``--kspace`` names, undersampled at each acceleration; of slices the middle one.

    Raises:
        UserError: if it cannot be read, or is not fully sampled.
    """
    if not config.kspace:
        return {}
    kspace = read_whole_kspace(config.kspace, coils_first=config.coils_first)
    found, (maps, _) = {}, coil_maps(kspace)
    for a in config.accelerations:
        mask = np.asarray(MASKS[config.mask](key, kspace.shape[:2], a))
        received = receive(kspace * mask[..., None])
        whole = centred_ifft2(jnp.asarray(kspace / received.scale)[None])
        found[f"{a}x measured"] = (received, np.abs(np.asarray(combine_coils(whole, maps)))[..., None])
    return found


def apply(run: Run) -> Callable[[Key, Image], dict[str, np.ndarray]]:
    """Reconstruct k-space ``[h, w, coils]``, 0 where not measured: the mean of samples, their standard deviation."""
    reconstruct = posterior.reconstructor(run, problem(run))

    def apply(key: Key, image: Image) -> dict[str, np.ndarray]:
        scan, scale, _ = receive(image.array)
        acceleration = nearest(run.config.accelerations, 1 / scan.mask.mean())
        found = reconstruct(key, scan, f"{acceleration}x measured", f"{acceleration}x coils")
        left = np.nan if found.misfit is None else found.misfit
        results = {
            "reconstruction": scale * found.image,
            "uncertainty": scale * found.uncertainty,
            "zero_filled": scale * np.asarray(zero_filled(jnp.asarray(scan.y), scan.maps))[0, ..., 0],
            "left_of_kspace": np.asarray(left),
        }
        warning = poor_fit(left)
        return results | ({"warning": np.asarray(warning)} if warning else {})

    return apply
