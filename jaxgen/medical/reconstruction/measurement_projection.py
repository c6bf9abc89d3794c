"""Steps that bring the noisy state itself to the measurements: Song et al.'s projection, and score-MRI.

Both alternate with Langevin corrections and a predictor. Against `jaxgen.samplers.predictor_corrector` the step sizes
of the corrections are those of each example alone, so that no reconstruction depends on the rest of the batch.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.imaging.operators import LinearOperator
from jaxgen.medical.reconstruction.residual import residual
from jaxgen.paths import Path
from jaxgen.samplers.langevin import correct_and_predict, langevin_step
from jaxgen.types import Array, Denoise, Key, Step

PseudoInverse = Callable[[Array], Array]
_Constrain = Callable[[Key, Array, Array], Array]


def complex_denoiser(denoise: Denoise) -> Denoise:
    """A denoiser of images of several channels from one of a single channel: each channel is an image of its own.

    A prior trained on magnitudes serves for the real and the imaginary part of a complex image, and for those of the
    images of several coils.

    Args:
        denoise: on ``[n, *spatial, 1]``.

    Returns:
        A denoiser on ``[b, *spatial, c]``, which asks the given one once, for b times c images.

    Reference:
        Chung & Ye 2022, "Score-based diffusion models for accelerated MRI", section 3.3.

    Example:
        >>> both = complex_denoiser(lambda x, t: x / x.shape[0])
        >>> both(jnp.ones((1, 2, 2, 2)), 0.5)[0, 0, 0].tolist()
        [0.5, 0.5]
    """

    def denoise_each(x: Array, t: Array) -> Array:
        b, *spatial, c = x.shape
        each = jnp.moveaxis(x, -1, 1).reshape(b * c, *spatial, 1)
        return jnp.moveaxis(denoise(each, t).reshape(b, c, *spatial), 1, -1)

    return denoise_each


def measurement_projection(
    predictor: Step,
    path: Path,
    operator: LinearOperator,
    y: Array,
    *,
    strength: float = 1.0,
    pseudo_inverse: PseudoInverse | None = None,
    snr: float = 0.16,
    corrections: int = 1,
) -> Step:
    """Before each correction and before the predictor, mix noisy measurements into the state.

    ``x_t <- x_t + strength A^+ (y_t - A x_t)`` with ``y_t = alpha_t y + sigma_t A z``, z drawn anew each time. With
    ``A = P Lambda T``, T orthonormal, Lambda a mask and P what drops its zeros, that is the published
    ``T^-1 (strength Lambda P^-1 y_t + (1 - strength) Lambda T x_t + (1 - Lambda) T x_t)``. At the data end
    the measured part is set to what was measured, whatever the strength.

    Args:
        predictor: with corrections, a step that asks its denoiser once, at (x_t, t), such as
            `jaxgen.samplers.reverse_diffusion`; without, any step.
        path: the path.
        operator: A.
        y: the measurements ``[b, ...]``.
        strength: lambda, from 0 to 1; below 1 for noisy measurements.
        pseudo_inverse: A^+; None for the adjoint, see `jaxgen.medical.reconstruction.ddnm`. By filtered back-projection
            or a few conjugate gradients the projection is not exact.
        snr: the signal-to-noise ratio of the Langevin corrections, see `jaxgen.samplers.predictor_corrector`.
        corrections: how many at each time. Without any, this is the most biased of the posterior samplers.

    Returns:
        A step with the state of the predictor.

    Raises:
        ValueError: when it is traced, if there are corrections and the predictor asks elsewhere.

    Reference:
        Song et al. 2022, "Solving inverse problems in medical imaging with score-based generative models", algorithm 1.

    Example:
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import Sample, ddim
        >>> first = LinearOperator(lambda x: x[:, :1], lambda y: jnp.pad(y, ((0, 0), (0, 1))))
        >>> step = measurement_projection(ddim(rectified()), rectified(), first, jnp.array([[5.0]]), corrections=0)
        >>> from jax.random import key
        >>> step.step(lambda x, t: 0 * x, key(0), Sample(jnp.ones((1, 2))), jnp.array(0.5), jnp.array(1.0)).x.tolist()
        [[5.0, 0.0]]
    """
    invert = operator.adjoint if pseudo_inverse is None else pseudo_inverse

    def mix(key: Key, x: Array, t: Array) -> Array:
        z = draws.normal(key, x.shape)
        difference = residual(operator, path.alpha(t) * y, x - path.sigma(t) * z)
        return (x + strength * invert(difference)).astype(x.dtype)

    def finish(key: Key, x: Array, s: Array) -> Array:
        del key
        merged = x + invert(residual(operator, path.alpha(s) * y, x))
        return jnp.where(s == path.t_data, merged, x).astype(x.dtype)

    return _constrained(predictor, path, mix, None, finish, snr, corrections)


def score_mri(
    predictor: Step,
    path: Path,
    operator: LinearOperator,
    y: Array,
    *,
    strength: float = 1.0,
    snr: float = 0.16,
    corrections: int = 1,
) -> Step:
    """After the predictor and after each correction, set what was measured to the measurements themselves.

    ``x <- x + strength A' (alpha y - A x)``, with no noise on y. For one coil of a complex image it replaces the
    measured lines of k-space; with coil sensitivities whose squares add up to 1 it is one step of gradient descent.

    Args:
        predictor: with corrections, a step that asks its denoiser once, at (x_t, t), such as
            `jaxgen.samplers.reverse_diffusion`; without, any step.
        path: the path; published for `jaxgen.paths.variance_exploding`.
        operator: A, with no singular value above 1.
        y: the measurements ``[b, ...]``.
        strength: of the step, from 0 to 1.
        snr: the signal-to-noise ratio of the Langevin corrections, see `jaxgen.samplers.predictor_corrector`.
        corrections: how many at each time; as published, before the predictor.

    Returns:
        A step with the state of the predictor.

    Raises:
        ValueError: when it is traced, if there are corrections and the predictor asks elsewhere.

    Reference:
        Chung & Ye 2022, "Score-based diffusion models for accelerated MRI", algorithms 2 to 4; the published code
        corrects first.

    Example:
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import Sample, ddim
        >>> first = LinearOperator(lambda x: x[:, :1], lambda y: jnp.pad(y, ((0, 0), (0, 1))))
        >>> step = score_mri(ddim(rectified()), rectified(), first, jnp.array([[5.0]]), corrections=0)
        >>> from jax.random import key
        >>> step.step(lambda x, t: 0 * x, key(0), Sample(jnp.ones((1, 2))), jnp.array(0.5), jnp.array(1.0)).x.tolist()
        [[5.0, 0.0]]
    """

    def replace(key: Key, x: Array, t: Array) -> Array:
        del key
        return (x + strength * operator.adjoint(residual(operator, path.alpha(t) * y, x))).astype(x.dtype)

    return _constrained(predictor, path, None, replace, replace, snr, corrections)


def _constrained(
    predictor: Step,
    path: Path,
    before: _Constrain | None,
    after_correction: _Constrain | None,
    after_prediction: _Constrain,
    snr: float,
    corrections: int,
) -> Step:
    """Corrections and a predictor, with constraints ``(key, x, time) -> x`` before and after each."""

    def norm(a: Array) -> Array:
        squares = jnp.sum(jnp.square(a.astype(jnp.float32)), tuple(range(1, a.ndim)), keepdims=True)
        return jnp.maximum(jnp.sqrt(squares), jnp.finfo(jnp.float32).tiny)

    def step(denoise: Denoise, key: Key, state: Any, t: Array, s: Array) -> Any:
        predict_key, finish_key, loop_key = draws.split(key, 3)

        def enter(i: Array | int, state: Any) -> Any:
            constrain_key = draws.fold_in(draws.fold_in(loop_key, i), 0)
            return state if before is None else state._replace(x=before(constrain_key, state.x, t))

        def correct(i: Array, state: Any, x0: Array) -> Any:
            z_key, constrain_key = draws.split(draws.fold_in(draws.fold_in(loop_key, i), 1), 2)
            x = langevin_step(path, state.x, x0, draws.normal(z_key, state.x.shape), t, snr, norm)
            return state._replace(x=x if after_correction is None else after_correction(constrain_key, x, t))

        if corrections:
            state = correct_and_predict(predictor, correct, corrections, denoise, predict_key, state, t, s, enter)
        else:
            state = predictor.step(denoise, predict_key, enter(0, state), t, s)
        return state._replace(x=after_prediction(finish_key, state.x, s))

    return Step(predictor.init, step)
