"""A run's network, written by ``jaxgen convert``, in diffusers: the pipeline loads, and its U-Net answers as ours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.app import convert
from jaxgen.app.exporting import exported
from jaxgen.tasks import networks
from tests.test_exporting import run_of

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.peers


@pytest.mark.parametrize("changes", [{}, {"adaptive": False, "residual_resampling": True, "channels": (128, 128)}])
def test_a_pipeline_of_a_run(changes, tmp_path):
    run = run_of(**changes)
    made = exported(run, "ddpm")
    convert._write(tmp_path / "out", convert.Network(*made), False)
    pipeline = diffusers.DDPMPipeline.from_pretrained(tmp_path / "out", low_cpu_mem_usage=False)
    x = np.random.default_rng(1).standard_normal((2, 8, 8, 1)).astype(np.float32)
    for entry in (0, 500, 999):
        with torch.no_grad():
            theirs = pipeline.unet(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), entry).sample.numpy()
        ours = jax.jit(networks.network(run).apply)(run.params["ddpm"]["net"], jnp.asarray(x), (entry + 1) / 1000)
        want = np.asarray(ours).transpose(0, 3, 1, 2)
        assert np.abs(want).max() > 0.1
        np.testing.assert_allclose(theirs, want, atol=1e-4 * np.abs(want).max())
    images = pipeline(batch_size=1, num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 8, 8, 1)
