"""The floors: a module imports only what lies below it, and each heavy library has one door."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "jaxgen").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")])

# From the bottom up. A floor is a list of modules that may also import each other.
FLOORS = [
    ["jaxgen.errors", "jaxgen.flops", "jaxgen.live_memory", "jaxgen.types"],
    ["jaxgen.consent", "jaxgen.discovery", "jaxgen.file_limits", "jaxgen.local_paths", "jaxgen.prompts"],
    ["jaxgen.chunks", "jaxgen.config", "jaxgen.draws", "jaxgen.schedules"],
    ["jaxgen.paths"],
    ["jaxgen.baselines", "jaxgen.couplings", "jaxgen.divergence", "jaxgen.mixtures", "jaxgen.preconditioning"],
    ["jaxgen.imaging"],
    ["jaxgen.losses"],
    ["jaxgen.guidance"],
    ["jaxgen.samplers"],
    ["jaxgen.metrics"],
    ["jaxgen.bijections"],
    ["jaxgen.nets"],
    ["jaxgen.families"],
    ["jaxgen.medical"],
    ["jaxgen.interop"],
    ["jaxgen.data"],
    ["jaxgen.train"],
    ["jaxgen.facts", "jaxgen.figures"],
    ["jaxgen.experiment", "jaxgen.headings", "jaxgen.presets", "jaxgen.published"],
    ["jaxgen.tasks"],
    ["jaxgen.app.memory_pages"],
    ["jaxgen.app.caching", "jaxgen.app.charts", "jaxgen.app.runs"],
    ["jaxgen.app.cards", "jaxgen.app.tables"],
    ["jaxgen.app.recorded"],
    ["jaxgen.app.page"],
    ["jaxgen.app.comparison_page", "jaxgen.app.evaluation_page", "jaxgen.app.markdown", "jaxgen.app.report"],
    ["jaxgen.app.exporting", "jaxgen.app.opening", "jaxgen.app.outputs", "jaxgen.app.provenance"],
    ["jaxgen.app.other_data", "jaxgen.app.sample_files", "jaxgen.app.sample_request", "jaxgen.app.while_training"],
    ["jaxgen.app.evaluating", "jaxgen.app.runner", "jaxgen.app.sampling"],
    ["jaxgen.app.inputs", "jaxgen.app.result_files"],
    ["jaxgen.app.apply_pair"],
    ["jaxgen.app.apply", "jaxgen.app.info"],
    ["jaxgen.app.compare", "jaxgen.app.convert", "jaxgen.app.planning"],
    ["jaxgen.app.cli"],
    ["experiments"],
]
DOORS = {
    "flax": ("jaxgen.nets",),
    "orbax": ("jaxgen.train",),
    "diffrax": ("jaxgen.samplers.ode", "jaxgen.samplers.sde"),
    "grain": ("jaxgen.data.pipeline",),
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """All modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def floor(module):
    for height, names in enumerate(FLOORS):
        if any(module == name or module.startswith(name + ".") for name in names):
            return height
    return None


def violations(module, imported):
    if module in ("jaxgen", "jaxgen.__main__"):
        return
    own = floor(module)
    for name in imported:
        package = name.split(".")[0]
        for library, doors in DOORS.items():
            if package == library and not any(module == door or module.startswith(door + ".") for door in doors):
                yield f"{module} imports {name}: only {' and '.join(doors)} may"
        if package in ("jaxgen", "experiments"):
            other = floor(name)
            if other is not None and other > own:
                yield f"{module} imports {name}, which lies above it"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_imports_only_what_lies_below_it(path):
    module = module_name(path)
    assert module in ("jaxgen", "jaxgen.__main__", "jaxgen.app") or floor(module) is not None, (
        f"{module} is on no floor"
    )
    assert list(violations(module, imports(path))) == []


def test_the_check_sees_an_arrow_that_points_up_and_a_wrong_door():
    assert list(violations("jaxgen.paths", {"jaxgen.samplers.driver"}))
    assert list(violations("jaxgen.losses.matching", {"jaxgen.app.cli"}))
    assert list(violations("jaxgen.families.vae", {"flax.linen"}))
    assert list(violations("jaxgen.samplers.driver", {"diffrax"}))
    assert not list(violations("jaxgen.nets.unet", {"flax.linen", "jaxgen.types.Net", "jaxgen.imaging"}))


def test_the_command_line_starts_without_jax():
    import subprocess
    import sys

    code = "import sys, jaxgen.app.cli; print([m for m in ('jax', 'numpy', 'matplotlib', 'flax') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_losses_need_nothing_but_jax():
    import subprocess
    import sys

    others = ("flax", "optax", "diffrax", "equinox", "chex", "orbax", "grain", "scipy.stats", "matplotlib", "torch")
    code = f"""import sys
for name in {others!r}: sys.modules[name] = None  # as if it were not installed
import jaxgen.losses
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
