"""The parts of docs/CONTRIBUTING.md work as they stand there: a recipe for a new network, and a new sampler."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest

from experiments.generation import ddpm  # noqa: F401
from jaxgen.app.cli import main
from jaxgen.medical.reconstruction.catalogue import METHODS, PosteriorMethod
from jaxgen.paths import variance_preserving
from jaxgen.samplers import ddim, grids, sample
from jaxgen.samplers.catalogue import SAMPLERS, Sampler

PAGE = (Path(__file__).parent.parent / "docs" / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(kind):
    (text,) = re.findall(rf"```python {kind}\n(.*?)```", PAGE, re.DOTALL)
    return text


def test_a_recipe_for_a_new_network_takes_less_than_60_lines_and_runs_on_a_folder_of_nifti(tmp_path, capsys):
    text = block("experiment")
    assert text.count("\n") < 60
    (tmp_path / "transformer.py").write_text(text)
    (tmp_path / "volumes").mkdir()
    rng = np.random.default_rng(0)
    rows, columns, _ = np.indices((20, 20, 6)) - 10
    for i in range(6):
        volume = 100 * (np.hypot(rows, columns) < rng.uniform(5, 9)) + rng.normal(0, 2, rows.shape)
        nibabel.save(nibabel.Nifti1Image(volume.astype(np.float32), np.eye(4)), tmp_path / f"volumes/p{i}.nii.gz")
    run, recipe = tmp_path / "run", str(tmp_path / "transformer.py")
    words = ["--preset", "smoke", "--data", str(tmp_path / "volumes"), "--workdir", str(run), "--quiet"]
    assert main(["run", recipe, *words]) == 0
    assert "transformer" in capsys.readouterr().out
    assert (run / "report.html").is_file()
    assert main(["sample", str(run), "--trust-code", "--n", "2"]) == 0
    assert len(np.load(run / "samples" / "samples.npz")["images"]) == 2


@pytest.fixture
def jump():
    names = {}
    exec(compile(block("sampler"), "CONTRIBUTING.md", "exec"), names)
    return names["jump"]


def test_the_sampler_is_that_of_the_library(jump):
    path = variance_preserving()
    x, grid = jax.random.normal(jax.random.key(0), (5, 3)), grids.uniform(path, 7)

    def denoise(x, t):
        return jnp.tanh(x)

    found, want = (sample(step(path), denoise, jax.random.key(1), x, grid) for step in (jump, ddim))
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_one_line_in_the_registry_makes_a_sampler_a_choice(jump, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(SAMPLERS, "jump", Sampler(jump))
    words = ["--preset", "smoke", "--sampler", "jump", "--steps", "3", "--workdir", str(tmp_path / "run"), "--quiet"]
    assert main(["run", "ddpm", *words]) == 0, capsys.readouterr().err
    assert main(["run", "ddpm", "--sampler", "jumb"]) == 2
    assert "did you mean 'jump'?" in capsys.readouterr().err


def test_the_loss_is_what_its_docstring_says():
    names = {}
    exec(compile(block("loss"), "CONTRIBUTING.md", "exec"), names)
    x, target = jax.random.normal(jax.random.key(0), (2, 3, 4))
    found = names["charbonnier"](x, target, epsilon=0.0)
    np.testing.assert_allclose(found, jnp.abs(x - target).mean(-1), rtol=1e-6)


@pytest.mark.thorough
def test_one_line_in_the_registry_offers_a_posterior_method(monkeypatch, tmp_path, capsys):
    names = {}
    exec(compile(block("posterior"), "CONTRIBUTING.md", "exec"), names)
    made = PosteriorMethod(names["gradient_step"], {"mri": (0.5, 1.0), "ct": (1.0,)})
    monkeypatch.setitem(METHODS, "gradient_step", made)
    words = ["--preset", "smoke", "--methods", "gradient_step", "--workdir", str(tmp_path / "run"), "--quiet"]
    assert main(["run", "mri_reconstruction", *words]) == 0, capsys.readouterr().err
    assert "gradient_step" in capsys.readouterr().out
