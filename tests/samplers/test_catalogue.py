"""A new sampler is one file and one line in the catalogue: no other list is edited."""

import argparse
import ast
import dataclasses
import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgen import discovery
from jaxgen.app.sample_request import Request, apply_request
from jaxgen.config import add_options, override
from jaxgen.data.readers import FORMATS, SUFFIXES
from jaxgen.errors import UserError
from jaxgen.experiment import Run, find
from jaxgen.paths import PATHS
from jaxgen.samplers.catalogue import SAMPLERS, Sampler
from jaxgen.tasks.images import ImageFacts
from jaxgen.tasks.reconstruction.posterior import METHODS

ROOT = Path(__file__).parents[2]
FILE = '''
"""The mean of the data after every step."""

from jaxgen.samplers.steps import Sample, start
from jaxgen.types import Step


def always_clean(path):
    return Step(start, lambda denoise, key, state, t, s: Sample(denoise(state.x, t)))
'''


@pytest.fixture
def added(tmp_path, monkeypatch):
    """One file, one line."""
    (tmp_path / "always_clean.py").write_text(FILE)
    spec = importlib.util.spec_from_file_location("always_clean", tmp_path / "always_clean.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(SAMPLERS, "always_clean", Sampler(module.always_clean))


def flags_of_samplers():
    """``(experiment, field)`` of every option that takes a sampler by name."""
    for name in discovery.names():
        for field in dataclasses.fields(find(name).presets["smoke"]):
            if "dpm_solver_2m" in (field.metadata.get("choices") or ()):
                yield name, field.name


def test_every_flag_takes_a_new_sampler(added):
    found = list(flags_of_samplers())
    assert {name for name, _ in found} >= {"ddpm", "guidance", "sampler_speed"}
    for name, field in found:
        smoke, parser = find(name).presets["smoke"], argparse.ArgumentParser()
        add_options(parser, smoke)
        config = override(smoke, parser.parse_args([f"--{field.replace('_', '-')}", "always_clean"]))
        assert getattr(config, field) in ("always_clean", ("always_clean",)), name


def test_a_new_sampler_draws_for_jaxgen_sample(added):
    experiment = find("ddpm")
    run = Run(experiment.presets["smoke"], ImageFacts(value_range=((-1.0,), (1.0,)), image_channels=1))
    request = Request(sampler="always_clean", steps=2)
    config, _ = apply_request(request, experiment, run, 3)
    (stage,) = (stage for stage in experiment.stages if stage.name == "ddpm")
    model = stage.build(run._replace(config=config)).model
    batch = {"image": jax.ShapeDtypeStruct((2, config.size, config.size, 1), np.float32)}
    params = jax.eval_shape(model.init, jax.random.key(0), batch)
    drawn = jax.eval_shape(lambda params, key: model.sample(params, key, 3), params, jax.random.key(0))
    assert drawn.shape == (3, config.size, config.size, 1)


def test_an_unknown_sampler_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"unipc.*always_clean"):
        dataclasses.replace(find("ddpm").presets["smoke"], sampler="always_clean")


def second_lists(source, names):
    """Displays, and ``Literal[...]``, that name every entry of a registry once more."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            parts = node.keys
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            parts = node.elts
        else:
            continue
        if set(names) <= {part.value for part in parts if isinstance(part, ast.Constant)}:
            yield node.lineno


# Each registry with its file. Elsewhere some of the names may be chosen, but not all of them listed.
REGISTRIES = {
    "samplers": (SAMPLERS, "jaxgen/samplers/catalogue.py"),
    "posterior methods": (METHODS, "jaxgen/medical/reconstruction/catalogue.py"),
    "paths": (PATHS, "jaxgen/paths.py"),
    "file formats": (FORMATS, "jaxgen/data/readers.py"),
    "suffixes": (SUFFIXES, "jaxgen/data/readers.py"),
}


@pytest.mark.parametrize("kind", REGISTRIES)
def test_there_is_one_registry(kind):
    table, home = REGISTRIES[kind]
    files = [*(ROOT / "jaxgen").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]
    names = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}
    assert [f"{f}:{line}" for f, text in names.items() if f != home for line in second_lists(text, table)] == []


def test_a_second_list_is_seen():
    assert list(second_lists(f"a = 1\nNAMES = {tuple(SAMPLERS)!r}", SAMPLERS)) == [2]
    assert list(second_lists(f"NAMES = Literal[{', '.join(map(repr, PATHS))}]", PATHS)) == [1]
    assert not list(second_lists("NAMES = ('ddim', 'ddpm')", SAMPLERS))
