"""Adjoints by transposition, conjugate gradients and the norm of an operator, against dense linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.operators import (
    LinearOperator,
    adjoint_by_transpose,
    conjugate_gradient,
    inner_product,
    pseudo_inverse,
    squared_norm_bound,
)

RNG = np.random.default_rng(0)


def dense(matrix) -> LinearOperator:
    """A matrix ``[m, n]``, or one per example ``[b, m, n]``, as an operator on ``[b, n, 1]``."""
    matrix = jnp.asarray(matrix, jnp.complex64 if np.iscomplexobj(matrix) else jnp.float32)

    def forward(x):
        return (matrix @ x)[..., 0]

    return LinearOperator(forward, adjoint_by_transpose(forward, jnp.zeros((1, matrix.shape[-1], 1))))


def complex_matrix(*shape):
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


@pytest.mark.parametrize("matrix", [RNG.normal(size=(5, 4)), complex_matrix(5, 4)], ids=["real", "complex"])
def test_the_adjoint_is_that_of_the_real_inner_product(matrix):
    operator = dense(matrix)
    x = jnp.asarray(RNG.normal(size=(3, 4, 1)), jnp.float32)
    y = operator.forward(jnp.asarray(RNG.normal(size=(3, 4, 1)), jnp.float32))
    y = y * (1 + 0.5j) if jnp.iscomplexobj(y) else y
    back = operator.adjoint(y)
    assert back.shape == x.shape
    assert back.dtype == x.dtype
    np.testing.assert_allclose(inner_product(operator.forward(x), y), inner_product(x, back), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(back[..., 0], np.real(y @ matrix.conj()), rtol=1e-4, atol=1e-4)


def test_the_adjoint_of_a_complex_image_too():
    matrix = jnp.asarray(complex_matrix(3, 4), jnp.complex64)
    adjoint = adjoint_by_transpose(lambda x: (matrix @ x)[..., 0], jax.ShapeDtypeStruct((1, 4, 1), jnp.complex64))
    y = jnp.asarray(complex_matrix(2, 3), jnp.complex64)
    np.testing.assert_allclose(adjoint(y)[..., 0], y @ matrix.conj(), rtol=1e-4, atol=1e-5)


def test_conjugate_gradients_solve_each_example_alone():
    """One system of a batch is easy and one hard: neither's answer depends on the other."""
    with jax.enable_x64(True):
        root = RNG.normal(size=(2, 6, 6)) * np.array([0.1, 1.0])[:, None, None]
        matrix = jnp.asarray(root @ root.transpose(0, 2, 1) + np.eye(6), jnp.float64)
        b = jnp.asarray(RNG.normal(size=(2, 6)) * [[1.0], [50.0]], jnp.float64)
        exact = np.linalg.solve(np.asarray(matrix, float), np.asarray(b, float)[..., None])[..., 0]

        def solve(matrix, b, **options):
            return conjugate_gradient(lambda x: jnp.einsum("bij,bj->bi", matrix, x), b, iterations=30, **options)

        together = solve(matrix, b)
        np.testing.assert_allclose(together, exact, rtol=1e-9)
        loose = solve(matrix, b, tolerance=1e-2)
        residual = jnp.einsum("bij,bj->bi", matrix, loose) - b
        relative = np.linalg.norm(residual, axis=1) / np.linalg.norm(b, axis=1)
        assert (relative <= 1e-2).all()
        assert (relative > 1e-5).all(), "the tolerance stopped nothing"
        for i in range(2):
            alone = solve(matrix[i : i + 1], b[i : i + 1], tolerance=1e-2)
            np.testing.assert_allclose(loose[i : i + 1], alone, rtol=1e-9)


def test_a_start_at_the_answer_stays_there_and_nothing_divides_by_zero():
    b = jnp.asarray([[2.0, 4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(conjugate_gradient(lambda x: 2 * x, b, b / 2, iterations=5), b / 2)
    slope = jax.jit(jax.grad(lambda b: jnp.sum(conjugate_gradient(lambda x: 2 * x, b, iterations=5))))(b)
    np.testing.assert_allclose(slope[0], 0.5, rtol=1e-5)
    assert np.isfinite(slope).all()


def test_the_gradient_through_the_solver_is_that_of_the_solution():
    root = jnp.asarray([[1.5, 0.5], [-0.3, 1.2]])
    b = jnp.asarray([[1.0, -2.0]])

    def energy(root):
        return jnp.sum(conjugate_gradient(lambda x: x @ (root @ root.T), b, iterations=2) ** 2)

    exact = jax.jit(jax.grad(lambda root: jnp.sum(jnp.linalg.solve(root @ root.T, b[0]) ** 2)))(root)
    np.testing.assert_allclose(jax.jit(jax.grad(energy))(root), exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)], ids=["few measurements", "many measurements"])
def test_the_pseudo_inverse_agrees_with_the_dense_one(shape):
    matrix = complex_matrix(*shape) / 4
    stacked = np.concatenate([matrix.real, matrix.imag])
    y = complex_matrix(2, shape[0])
    flat = np.concatenate([y.real, y.imag], 1)
    operator, y = dense(matrix), jnp.asarray(y, jnp.complex64)
    found = pseudo_inverse(operator, iterations=40)(y)[..., 0]
    np.testing.assert_allclose(found, flat @ np.linalg.pinv(stacked).T, rtol=2e-3, atol=2e-3)
    damped = pseudo_inverse(operator, iterations=40, damping=0.3)(y)[..., 0]
    ridge = np.linalg.solve(stacked.T @ stacked + 0.3 * np.eye(shape[1]), stacked.T @ flat.T).T
    np.testing.assert_allclose(damped, ridge, rtol=2e-3, atol=2e-3)


def test_the_norm_is_that_of_each_example():
    matrix = RNG.normal(size=(2, 5, 4)) * np.array([1.0, 3.0])[:, None, None]
    bound = jax.jit(lambda key: squared_norm_bound(dense(matrix), key, (2, 4, 1), 100))(jax.random.key(0))
    np.testing.assert_allclose(bound, np.linalg.norm(matrix, 2, axis=(1, 2)) ** 2, rtol=1e-4)
    nothing = LinearOperator(lambda x: 0 * x, lambda y: 0 * y)
    np.testing.assert_array_equal(squared_norm_bound(nothing, jax.random.key(0), (2, 3, 1)), 0)


def test_more_iterations_than_needed_do_no_harm_to_a_singular_system():
    """A projection is solved in one iteration; what rounding leaves must not be divided by its zeros."""
    keep = jnp.arange(64) % 3 == 0
    turn = jnp.asarray(np.linalg.qr(RNG.normal(size=(64, 64)))[0], jnp.float32)
    b = ((jnp.asarray(RNG.normal(size=(2, 64)), jnp.float32) @ turn) * keep) @ turn.T
    found = conjugate_gradient(lambda x: ((x @ turn) * keep) @ turn.T, b, iterations=50)
    np.testing.assert_allclose(found, b, atol=1e-5)
