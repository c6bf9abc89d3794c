"""State and examples in parts, over fake devices; that the parameters come out the same is in test_sharding.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax.sharding import PartitionSpec

import jaxgen
from jaxgen.errors import UserError
from jaxgen.train import data_parallel, make_mesh
from jaxgen.train.mesh import part_of

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def measured():
    """What parts.py printed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(jaxgen.__file__).parents[1])}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    command = [sys.executable, str(HERE / "parts.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.thorough
def test_four_devices_share_a_state(measured):
    """A quarter each, but for small arrays; the same step; nothing is gathered but parameters."""
    whole, shard = measured["whole"], measured["shard"]
    assert shard["gap"] < 1e-5
    assert shard["state"] < 0.3 * whole["state"]
    assert shard["kept"] == shard["state"]
    assert shard["gathered"]
    assert all(shape in measured["parameters"] for shape in shard["gathered"])


@pytest.mark.thorough
def test_four_devices_share_each_image(measured):
    """The compiler exchanges the rows at the seams: no activation is gathered, and a device holds little more than a
    quarter of them."""
    whole, space = measured["whole"], measured["space"]
    assert space["gap"] < 1e-5
    assert space["state"] == whole["state"]
    assert space["gathered"] == []
    assert space["temporary"] < 0.4 * whole["temporary"]


@pytest.mark.thorough
def test_four_devices_sample_each_image(measured):
    sample = measured["sample"]
    assert sample["gap"] < 1e-5
    assert sample["gathered"] == []
    assert sample["temporary"][1] < 0.4 * sample["temporary"][0]


@pytest.mark.thorough
def test_images_that_cannot_be_divided_are_refused(measured):
    assert measured["refused"].startswith("--space 4: no array of the examples ((), (34, 32, 1)) has a first spatial")


@pytest.mark.parametrize(
    ("shape", "parts", "want"),
    [
        ((3, 3, 64, 64), 4, PartitionSpec(None, None, None, "shard")),
        ((3, 3, 128, 64), 4, PartitionSpec(None, None, "shard")),
        ((3, 3, 64, 127), 4, PartitionSpec(None, None, "shard")),
        ((64, 63), 4, PartitionSpec()),
        ((65, 63), 4, PartitionSpec()),
        ((), 2, PartitionSpec()),
    ],
)
def test_a_large_array_is_divided_along_its_last_longest_axis(shape, parts, want):
    assert part_of(shape, parts) == want


def test_what_cannot_be_grouped_is_said():
    n = len(jax.devices())
    with pytest.raises(UserError, match=f"--shard-state 3 --space 2: {n} devices cannot be divided into groups of 6"):
        make_mesh(shard=3, space=2)
    with pytest.raises(UserError, match=f"^--space {n + 1}: {n} devices cannot be"):
        data_parallel("jit", space=n + 1)


def test_pmap_holds_the_whole(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: jax.local_devices() * 2)
    with pytest.raises(UserError, match="--parallel pmap: every device holds the whole"):
        data_parallel("pmap", shard=2)
