"""The experiment record: everything the runner needs to train, evaluate, sample and apply one system.

An experiment is one short file that ends in ``EXPERIMENT = Experiment(...)``. Files in the package ``experiments`` are
known to ``jaxgen`` by their name; any other file by its path.
"""

import importlib.util
import math
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxgen import discovery
from jaxgen.config import RunConfig, nearest
from jaxgen.discovery import names
from jaxgen.errors import UserError
from jaxgen.facts import Facts
from jaxgen.figures.figure import Figure

EVALUATE, SAMPLE, APPLY = 1, 2, 3
"""What is folded into the run's seed for the random numbers of each command."""


class Metric(NamedTuple):
    """How the report shows one metric.

    Attributes:
        label: the name in the table.
        better: which direction is better, or an empty string where neither is.
        help: one line on what it measures.
    """

    label: str
    better: Literal["higher", "lower", ""] = "higher"
    help: str = ""


class Run(NamedTuple):
    """A run, as every function of an experiment is handed it.

    Attributes:
        config: the configuration.
        facts: what was measured on the run's training data, a `jaxgen.facts.Facts`.
        params: the averaged parameters of each trained stage, by its name; a stage is built with those before it.
        splits: the data, ``jaxgen.data.Splits``; None while a stage is built and in `apply`, and read late in `sample`.
        key: one PRNG key for all random numbers of an evaluation or of samples; None elsewhere.
        chosen: settings that the run's evaluation chose on validation data (`Evaluation.chosen`), empty before.
    """

    config: Any
    facts: Any
    params: Mapping[str, Any] = {}
    splits: Any = None
    key: Any = None
    chosen: Mapping[str, Any] = {}


class Evaluation(NamedTuple):
    """What evaluating (or sampling from) a trained experiment gives.

    Attributes:
        metrics: ``{method: {metric: number}}``; entries that are plain numbers are facts about the whole evaluation.
            They must depend on nothing but the configuration and the data: timings have their own file.
        figures: figures by name; the name is the file's stem.
        headline: the result in one sentence.
        describe: how to show each metric, by its name.
        arrays: arrays worth keeping (samples); ``jaxgen sample`` saves them in ``samples.npz``. Of labelled samples
            ``label [n]`` and ``label_names`` are among them.
        release: what goes with images that are given away (`jaxgen.medical.privacy.report`), a dict that JSON can hold:
            origin, licence and use, and of an evaluation the checks and their verdict. It is saved as ``release.json``,
            of samples with the checks of their run, a data card and a model card.
        cases: rows of what was measured of each test case, ``{column: value}``; the runner saves them in
            ``cases.csv``.
        images: which of the arrays hold images in [-1, 1], ``[n, *spatial, c]`` or ``[n, *spatial]``; ``jaxgen sample``
            writes each of them as a file too.
        timings: what was timed, ``{row: {column: number}}``; the runner saves it in ``timings.json``, out of the
            metrics, and the report shows it as a table.
        chosen: settings chosen on validation data, a dict that JSON can hold. The runner saves those of a run's own
            evaluation in ``chosen.json``; `sample` and `apply` find them in `Run.chosen`.
    """

    metrics: Mapping[str, Any]
    figures: Mapping[str, Figure]
    headline: str
    describe: Mapping[str, Metric] = {}
    arrays: Mapping[str, np.ndarray] = {}
    timings: Mapping[str, Mapping[str, float]] = {}
    chosen: Mapping[str, Any] = {}
    images: Sequence[str] = ()
    cases: Sequence[Mapping[str, Any]] = ()
    release: Mapping[str, Any] = {}


class Preview(NamedTuple):
    """What ``--evaluate-every`` shows of a run that trains.

    Attributes:
        metrics: the metrics that matter most, by name; a curve of each is in the page.
        images: a figure, or samples ``[n, *spatial, c]`` in [-1, 1]; None for none.
    """

    metrics: Mapping[str, float] = {}
    images: Figure | np.ndarray | None = None


class Reader(NamedTuple):
    """How ``jaxgen apply`` reads a file of measurements rather than of an image.

    What is applied to them gives a ``reconstruction``, whose grid the other maps share.

    Attributes:
        suffixes: of the files, such as ".npz".
        read: ``path -> jaxgen.data.image.Image``, whose array ``[*spatial, c]`` may be complex; a `UserError` names the
            file and the fix.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path], Any]


class StageSpec(NamedTuple):
    """One stage of training, built when the stages before it are trained.

    Attributes:
        name: its name, and that of its folder of checkpoints.
        build: ``build(run) -> jaxgen.train.Stage``; ``run.params`` holds the earlier stages.
        wanted: ``wanted(config)``, whether a configuration trains this stage at all; None for always.
        formerly: its name in runs of before, if that was another: runs keep that folder and those random numbers.
        examples: ``examples(run) -> Source`` of what this stage is fed, such as codes of images, where that is other
            than the experiment's; ``run.params`` holds the earlier stages. What it gives None for is fed as usual.
        suits: ``suits(facts)``, whether data with these facts train this stage; None for all data.
        reshapes: its `examples` have another shape than the experiment's, and are made without a trained stage.
    """

    name: str
    build: Callable[..., Any]
    wanted: Callable[[Any], bool] | None = None
    formerly: str = ""
    examples: Callable[[Run], Any] | None = None
    suits: Callable[[Any], bool] | None = None
    reshapes: bool = False


class Experiment(NamedTuple):
    """A system: its data, its stages of training, and what to measure and draw.

    Attributes:
        name: the name on the command line; that of its file.
        summary: one line for ``jaxgen list``.
        data: one line on the data it trains on by default.
        presets: configurations by name; ``small`` is the default, ``smoke`` the one for a quick check.
        load: ``load(config) -> jaxgen.data.Splits``.
        stages: the stages in order.
        evaluate: ``evaluate(run) -> Evaluation``.
        measure: ``measure(config, splits) -> facts``: what sampling needs to know about the data (value ranges, scale
            factors, channels), a `jaxgen.facts.Facts`; measured once and saved with the run. None for nothing.
        facts: the class of what `measure` gives, to read it back.
        sample: ``sample(run, n, **keywords) -> Evaluation``; the data are only read if it looks at them.
        apply: ``apply(run) -> f`` with ``f(key, image) -> {name: array}``: a `jaxgen.data.image.Image` of raw values
            ``[*spatial, c]`` with its metadata in, arrays ``[*spatial]`` out, ``mask`` among them, or an `Image` where
            the result has a grid of its own; ``warning``, a text, is printed with the name of the file. None where it
            makes no sense.
        apply_pair: ``apply_pair(run) -> f`` with ``f(moving, fixed, labels) -> {name: array}``, of two images and
            perhaps a label map of the first: arrays on the grid of the fixed image, ``field [x, y, z, 3]`` of volumes
            among them (`jaxgen.data.writers.write_field`). None where it makes no sense.
        reader: how ``jaxgen apply`` reads its files; None for images (`jaxgen.data.readers`).
        spatial_dims: spatial rank of one example, or ``spatial_dims(config)``; ``jaxgen apply`` hands volumes to a 2-D
            experiment slice by slice.
        baseline: the method in ``metrics`` that the others are compared with, or an empty string.
        examples: ``examples(run) -> Source`` of what the feed hands to training, all of one size; None for
            ``run.splits.train`` itself.
        sample_flags: the flags of ``jaxgen sample`` that it takes ("label", "guidance", "sampler", "steps"), and the
            field of the configuration that each replaces; None where `sample` takes a keyword of that name, of which
            ``label`` is numbers of classes ``[n]``.
        preview: ``preview(run) -> Preview``, what ``--evaluate-every`` shows; ``run.params`` holds the stages trained
            so far and the averaged parameters so far of the one that trains, the last of them. None where there is
            nothing to show yet. Without a `preview` it shows the first figure and the first method of `evaluate`, while
            the last stage trains.
    """

    name: str
    summary: str
    data: str
    presets: Mapping[str, RunConfig]
    load: Callable[[Any], Any]
    stages: Sequence[StageSpec]
    evaluate: Callable[[Run], Evaluation]
    measure: Callable[[Any, Any], Facts] | None = None
    facts: type[Facts] = Facts
    sample: Callable[..., Evaluation] | None = None
    apply: Callable[[Run], Callable[..., Mapping[str, np.ndarray]]] | None = None
    apply_pair: Callable[[Run], Callable[..., Mapping[str, np.ndarray]]] | None = None
    reader: Reader | None = None
    spatial_dims: int | Callable[[Any], int] = 2
    baseline: str = ""
    examples: Callable[[Run], Any] | None = None
    sample_flags: Mapping[str, str | None] = {}
    preview: Callable[[Run], Preview | None] | None = None


def spatial_rank(experiment: Experiment, config: Any) -> int:
    """The spatial rank of one example.

    Example:
        >>> experiment = Experiment("x", "", "", {}, print, (), print, spatial_dims=lambda config: config["axes"])
        >>> spatial_rank(experiment, {"axes": 3})
        3
    """
    found = experiment.spatial_dims
    return found if isinstance(found, int) else found(config)


def key_of(config: RunConfig, purpose: int) -> jax.Array:
    """The key for the random numbers of one command.

    Args:
        config: the configuration, for its seed.
        purpose: `EVALUATE`, `SAMPLE` or `APPLY`.

    Returns:
        A typed PRNG key.
    """
    return jax.random.fold_in(jax.random.key(config.seed), purpose)


def chosen_number(run: Run, *names: str, default: float) -> float:
    """A setting that the run's evaluation chose on validation data.

    Args:
        run: the run.
        *names: where it stands in the settings: its name, after that of its method if those have several.
        default: for a run that has not been evaluated.

    Returns:
        The number.

    Raises:
        UserError: if what stands there is no number.

    Example:
        >>> chosen_number(Run(None, None, chosen={"ddim": {"level": 0.5}}), "ddim", "level", default=0.2)
        0.5
    """
    value: Any = run.chosen
    for name in names:
        if isinstance(value, Mapping) and name not in value:
            return default
        value = value[name] if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(
            f"chosen.json: {' '.join(names)} is no number; restore the file from a copy of the run, or take it away"
        )
    return value


def stages_of(experiment: Experiment, config: Any, facts: Any = None) -> list[StageSpec]:
    """The stages that a configuration trains on data with these facts, in order; without facts, on any data.

    Example:
        >>> two = (StageSpec("first", print), StageSpec("second", print, lambda config: config["both"]))
        >>> experiment = Experiment("x", "", "", {}, print, two, print)
        >>> [stage.name for stage in stages_of(experiment, {"both": False})]
        ['first']
    """
    wanted = [stage for stage in experiment.stages if stage.wanted is None or stage.wanted(config)]
    return [stage for stage in wanted if facts is None or stage.suits is None or stage.suits(facts)]


def is_file(name: str) -> bool:
    """Whether `name` means an experiment file rather than the name of a built-in experiment.

    Example:
        >>> is_file("my/model.py"), is_file("flow_sdf")
        (True, False)
    """
    return name.endswith(".py")


def find(name: str) -> Experiment:
    """The experiment of this name, or the one in this Python file.

    Args:
        name: the name of a built-in experiment, or the path of a ``.py`` file that defines ``EXPERIMENT``.

    Returns:
        The experiment.

    Raises:
        UserError: if there is none; the message names the nearest.

    Example:
        >>> find("zzz_no_such")
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: there is no experiment 'zzz_no_such' (see `jaxgen list`, or give a .py file)
    """
    if is_file(name):
        return _checked(_import_file(Path(name)), name)
    if name not in (known := names()):
        hint = nearest(name, known)
        raise UserError(f"there is no experiment {name!r}{hint} (see `jaxgen list`, or give a .py file)")
    return _checked(discovery.load(name), name)


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give the path of a Python file that defines EXPERIMENT")
    path = path.resolve()
    discovery.share_name(
        path.parent
    )  # the file may import parts of our experiments, and of a folder named so beside it
    module_name = f"jaxgen_experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up here
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as `python file.py` would, for files beside it
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"{error.filename or path}: line {error.lineno}: {error.msg}") from error
    except ImportError as error:
        raise UserError(f"{_where(error, path)}: {error}; install it, or correct the import") from error
    except UserError as error:
        raise UserError(f"{_where(error, path)}: {error}") from error
    except Exception as error:
        raise UserError(f"{_where(error, path)}: {type(error).__name__}: {error}") from error
    return module


def _where(error: Exception, path: Path) -> str:
    """The line of a user's file, or of one beside it, at which importing it failed."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if Path(frame.filename).parent == path.parent), None)
    return str(path) if last is None else f"{last.filename}: line {last.lineno}"


def _checked(module: Any, name: str) -> Experiment:
    experiment = getattr(module, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        raise UserError(f"{name}: it defines no EXPERIMENT (end the file with EXPERIMENT = Experiment(...))")
    if not experiment.presets:
        raise UserError(f"{name}: EXPERIMENT has no presets; give at least one, such as 'small'")
    stages = [spec.name for spec in experiment.stages]
    if len(set(stages)) != len(stages):
        raise UserError(f"{name}: two stages have the same name: {', '.join(stages)}")
    for stage in stages:
        if not stage or not all(letter.isalnum() or letter in "_-" for letter in stage):
            raise UserError(f"{name}: the stage name {stage!r} cannot name a folder; use letters, digits and _")
    return experiment
