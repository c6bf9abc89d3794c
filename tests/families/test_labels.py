import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.families.labels import Labels


def test_without_classes_nothing_is_handed_to_the_network():
    labels = Labels()
    assert labels.null(3) == labels.training(jax.random.key(0), {}) == labels.asked(3, None) == {}
    assert labels.of({}) is None
    with pytest.raises(ValueError, match="unconditional"):
        labels.asked(2, jnp.zeros(2, int))


def test_classes():
    labels, batch = Labels(4, drop=0.0), {"label": jnp.array([3, 0])}
    np.testing.assert_array_equal(labels.null(2)["label"], [4, 4])
    np.testing.assert_array_equal(labels.of(batch), [3, 0])
    np.testing.assert_array_equal(labels.training(jax.random.key(0), batch)["label"], [3, 0])
    np.testing.assert_array_equal(labels.asked(2, jnp.array([1, 2]))["label"], [1, 2])
    with pytest.raises(ValueError, match="one per image"):
        labels.asked(2, jnp.zeros(3, int))
