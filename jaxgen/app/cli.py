"""The command line: ``jaxgen list | run | plan | apply | sample | eval | compare | convert | report | info``.

Nothing heavy is imported until a command needs it, so that help and errors in flags come at once.
"""

import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from jaxgen import __version__, file_limits
from jaxgen.app.memory_pages import more_memory_pages
from jaxgen.config import Parser, RunConfig, add_options, choose_preset, nearest, override
from jaxgen.errors import UserError, printable

_HELP = f"""usage: jaxgen COMMAND ...

Deep generative models for medical imaging, in pure JAX. Version {__version__}.

  jaxgen list                        the experiments: what they do, their data and presets
  jaxgen run NAME [flags]            train, evaluate and report; goes on where it stopped
  jaxgen plan NAME [flags]           parameters, memory and time of a training, before it is started
  jaxgen apply RUN INPUT --out DIR   use a trained run on new images
  jaxgen sample RUN [--n N]          draw samples from a trained run
  jaxgen eval RUN [--data D]         evaluate a trained run, on other data too
  jaxgen compare REAL GENERATED      how alike two sets of images are: Frechet distance and others
  jaxgen convert SOURCE OUT          networks between jaxgen, diffusers, transformers and MONAI
  jaxgen report RUN [RUN ...]        rebuild the page of a run, or compare several; --markdown for tables
  jaxgen info                        versions, devices, memory, caches

`jaxgen COMMAND --help` says more. For a first look: jaxgen run flow_sdf --preset smoke
"""


_PATIENCE = 24 * 3600
"""Seconds that the other processes wait at the end while the first one evaluates."""


class _Stopped(BaseException):
    """A signal asked the process to end while nothing needed saving."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


class _Context:
    """What is known about the command that runs, for the message when it ends early."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.again = ""

    def say(self, line: str = "") -> None:
        """A line for the user, or several."""
        print("\n".join(map(printable, line.split("\n"))), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; None for those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 a mistake in a flag or file, 130 or 143 stopped by a signal.

    Example:
        >>> main(["--version"])
        jaxgen 0.2.0
        0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return _guard(lambda context: _command(arguments, context, process=argv is None))


def run_module(experiment: Any, argv: Sequence[str] | None = None) -> int:
    """Run an experiment file as a program: ``python -m experiments.first.two_moons`` or ``python my_experiment.py``.

    Args:
        experiment: the `jaxgen.experiment.Experiment` of the file.
        argv: flags of ``jaxgen run``; None for those of the process.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    module = sys.modules.get("__main__")
    spec = getattr(module, "__spec__", None)
    built_in = spec is not None and spec.name.startswith("experiments.")
    file = getattr(module, "__file__", None)
    reference = experiment.name if built_in or argv is not None or file is None else file
    if argv is None:
        more_memory_pages()

    def run(context: _Context) -> int:
        with _agreed([*_program(), *arguments]):
            return _run(arguments, context, experiment=experiment, reference=reference)

    return _guard(run)


def _program() -> list[str]:
    """How the file that runs was started, as one types it."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None:
        return ["python", "-m", spec.name.removesuffix(".__main__")]
    return ["python", sys.argv[0] or "-"]


def _agreed(command: Sequence[str]) -> contextlib.AbstractContextManager[None]:
    """What the user agrees to by a command: flags, and the data set that is typed in it."""
    from jaxgen import consent

    parser = Parser(prog=" ".join(command[:2]), add_help=False)
    _add_consent_flags(parser)
    parser.add_argument("--data")
    said = parser.parse_known_args(command[2:])[0]
    return consent.given(code=said.trust_code, download=said.download, typed=said.data, command=command)


def _add_consent_flags(parser: Any) -> None:
    """The flags without which opening a run folder runs no code of its own and downloads nothing."""
    parser.add_argument(
        "--trust-code", action="store_true", help="the Python file that the run was made from may be executed"
    )
    _add_download_flag(parser)


def _add_download_flag(parser: Any) -> None:
    parser.add_argument(
        "--download", action="store_true", help="data that are not on this disk, and not typed here, may be downloaded"
    )


def _guard(command: Callable[[_Context], int]) -> int:
    """Run a command and turn what goes wrong into one line and an exit code."""
    context = _Context()
    # what readers warn of on the way is said by our own lines, or does not matter
    warnings.filterwarnings("ignore", module=r"(pydicom|PIL|nibabel|tifffile)\b")
    before = _on_sigterm(_raise_stopped)
    try:
        with file_limits.restored():
            return command(context)
    except SystemExit as leave:  # argparse after --help
        return leave.code if isinstance(leave.code, int) else 0
    except UserError as error:
        return _fail(str(error), 2)
    except (KeyboardInterrupt, _Stopped) as stop:
        code = stop.exit_code if isinstance(stop, _Stopped) else 130
        return _fail(f"stopped{_again(context)}", code, "jaxgen: ")
    except BrokenPipeError:  # the reader of a pipe has gone, as in `jaxgen list | head -1`
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if type(error).__name__ == "Interrupted" and hasattr(error, "exit_code"):
            return _fail(f"{error}{_again(context)}", error.exit_code, "jaxgen: ")
        if isinstance(error, OSError) and error.filename is not None:
            reason = (error.strerror or str(error)).lower()
            return _fail(f"{error.filename}: {reason}; make room or make it accessible{_again(context)}", 2)
        return _unexpected(error, context)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _on_sigterm(handler: Any) -> Any:
    try:
        return signal.signal(signal.SIGTERM, handler)
    except ValueError:  # not in the main thread
        return None


def _raise_stopped(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stopped(number)


def _fail(message: str, code: int, prefix: str = "jaxgen: error: ") -> int:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    print(prefix + printable(" ".join(message.split())), file=sys.stderr, flush=True)
    return code


def _again(context: _Context) -> str:
    return f"; go on with: {context.again}" if context.again else ""


def _unexpected(error: Exception, context: _Context) -> int:
    text = "".join(traceback.format_exception(error))
    where = ""
    for place in filter(None, [context.folder, Path(tempfile.gettempdir())]):
        path = place / ("error.txt" if place == context.folder else f"jaxgen-error-{os.getpid()}.txt")
        with contextlib.suppress(OSError):
            path.write_text(text, encoding="utf-8")
            where = f"; full traceback in {path}"
            break
    said = " ".join(str(error).split())
    said = said if len(said) <= 300 else said[:300] + "..."
    return _fail(f"{type(error).__name__}: {said}{where or '; no place to write the traceback'}", 1)


def _command(argv: list[str], context: _Context, process: bool) -> int:
    commands = {
        "list": _list,
        "run": _run,
        "plan": _plan,
        "apply": _apply,
        "sample": _sample,
        "eval": _eval,
        "compare": _compare,
        "convert": _convert,
        "report": _report,
        "info": _info,
    }
    if not argv or argv[0] in ("-h", "--help", "help"):
        context.say(_HELP.rstrip())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        context.say(f"jaxgen {__version__}")
        return 0
    if argv[0] not in commands:
        hint = nearest(argv[0], commands)
        raise UserError(f"there is no command {argv[0]!r}{hint} (commands: {', '.join(commands)})")
    wants_help = "--help" in argv or "-h" in argv
    if process and not wants_help and argv[0] in ("run", "apply", "sample", "eval", "compare"):
        more_memory_pages()
    with _agreed(["jaxgen", *argv]):
        return commands[argv[0]](argv[1:], context)


def _prepare_jax(use_cache: bool) -> None:
    from jaxgen.app import caching

    if use_cache:
        caching.enable()


def _list(argv: list[str], context: _Context) -> int:
    parser = Parser(prog="jaxgen list", description="The experiments that come with the package.")
    parser.parse(argv)
    from jaxgen import discovery

    for name in discovery.names():
        card = discovery.card(name)
        if card is None:  # not written out: only running the file tells
            from jaxgen.experiment import find

            try:
                found = find(name)
            except ImportError as error:
                context.say(f"{name}\n  cannot be loaded: {error}\n")
                continue
            card = discovery.Card(found.name, found.summary, found.data, tuple(found.presets))
        context.say(f"{name}\n  {card.summary}\n  data: {card.data}")
        context.say(f"  presets: {', '.join(card.presets)}\n")
    return 0


_RUN_EPILOG = """example:
  {prog} --preset smoke --steps 20 --workdir runs/try
"""


def _run(argv: list[str], context: _Context, experiment: Any = None, reference: str = "") -> int:
    named = experiment is None
    if named and (not argv or argv in (["-h"], ["--help"])):
        context.say(_RUN_USAGE.rstrip())
        return 0 if argv else 2
    name, rest = _take_name(argv) if named else (reference, argv)
    from jaxgen.app import runs

    if named and runs.is_argument(name):
        return _resume(name, rest, context)
    if named:
        from jaxgen.experiment import find

        experiment = find(name)
    prog = f"jaxgen run {name}" if named else shlex.join(_program())

    first = Parser(prog=prog, add_help=False)
    first.add_argument("--preset")
    preset, config = choose_preset(experiment.presets, first.parse_known_args(rest)[0].preset)
    parser = Parser(
        prog=prog,
        usage=f"{prog} [--preset NAME] [--workdir DIR] [flags]",
        description=f"{experiment.summary}\n\nDefaults below are those of the preset {preset!r}.",
        epilog=_RUN_EPILOG.format(prog=prog),
    )
    add_options(parser, config, title=experiment.name)
    group = parser.add_argument_group("run")
    presets = ", ".join(experiment.presets)
    group.add_argument(
        "--preset", metavar="NAME", help=f"one of {presets} [default: {choose_preset(experiment.presets, None)[0]}]"
    )
    group.add_argument("--workdir", metavar="DIR", help="run folder [default: a new one under runs/]")
    _add_download_flag(group)
    _add_machine_flags(group)
    given = parser.parse(rest)
    return _train(experiment, preset, override(config, given), given, name, context)


_RUN_USAGE = """usage: jaxgen run NAME [--preset P] [--data D] [--workdir DIR] [flags]

Train, evaluate and report an experiment. NAME is one of `jaxgen list`, the path of a .py file that defines
EXPERIMENT, or a run folder (then the run goes on as it was configured). With --workdir, a run that is there
already goes on where it stopped. `jaxgen run NAME --help` lists all flags.

examples:
  jaxgen run flow_sdf
  jaxgen run flow_sdf --preset smoke --steps 20 --workdir runs/try
  jaxgen run my_experiment.py --data my/images
"""


def _plan(argv: list[str], context: _Context) -> int:
    usage = "jaxgen plan NAME [--preset NAME] [--accelerator NAME] [flags]"
    if not argv or argv in (["-h"], ["--help"]):
        context.say(f"usage: {usage}\n\n{_PLAN}")
        return 0 if argv else 2
    name, rest = _take_name(argv)
    from jaxgen.app import planning
    from jaxgen.experiment import find

    experiment = find(name)
    first = Parser(prog=f"jaxgen plan {name}", add_help=False)
    first.add_argument("--preset", default="full" if "full" in experiment.presets else None)
    _, config = choose_preset(experiment.presets, first.parse_known_args(rest)[0].preset)
    parser = Parser(prog=f"jaxgen plan {name}", usage=usage, description=_PLAN)
    add_options(parser, config, title=experiment.name)
    group = parser.add_argument_group("plan")
    group.add_argument("--preset", metavar="NAME", help=f"one of {', '.join(experiment.presets)} [default: full]")
    group.add_argument(
        "--accelerator", default="h100", choices=planning.ACCELERATORS, help="what to compare with [default: h100]"
    )
    _add_download_flag(group)
    given = parser.parse(rest)
    planned = override(config, given)
    loading = planning.data_of(experiment, planned, brought=any(word.partition("=")[0] == "--data" for word in rest))
    for line in planning.lines(
        planning.plan(experiment, planned, loading), planned, planning.ACCELERATORS[given.accelerator]
    ):
        context.say(line)
    return 0


_PLAN = """What a training needs, before it is started: parameters, operations and memory of a step of each stage, and
of drawing one image or volume; whether it fits on an accelerator, how long it takes there, and what to change where it
does not. Shapes are those of the data of the preset `smoke`, at the size asked for, or of your own with --data.

examples:
  jaxgen plan ddpm
  jaxgen plan brain_ldm --accelerator a100 --batch-size 4 --accumulate 4
  jaxgen plan flow_sdf --preset small --data scans/ --accelerator t4"""


def _take_name(argv: list[str]) -> tuple[str, list[str]]:
    """The experiment's name and the other arguments; the name comes first, or wherever it cannot be mistaken."""
    if not argv[0].startswith("-"):
        return argv[0], argv[1:]
    from jaxgen.discovery import names

    known = names()
    for i, word in enumerate(argv):
        if word in known or (word.endswith(".py") and not word.startswith("-")):
            return word, argv[:i] + argv[i + 1 :]
    raise UserError("name the experiment first: jaxgen run NAME [flags] (see `jaxgen list`)")


def _resume(path: str, rest: list[str], context: _Context) -> int:
    from jaxgen.app import opening

    parser = Parser(prog=f"jaxgen run {path}", description="Go on with a run as it was configured.")
    _add_consent_flags(parser)
    _add_machine_flags(parser)
    _refuse_changes(path, parser.parse_known_args(rest)[1])
    given = parser.parse(rest)
    given.workdir = path
    folder, experiment, preset, config = opening.open_config(path)
    return _train(experiment, preset, config, given, opening.reference_of(folder), context)


def _refuse_changes(path: str, words: Sequence[str]) -> None:
    """A flag of the experiment cannot change a run that goes on; say so, rather than that there is no such flag."""
    from jaxgen.app import opening, runs

    for flag in (word.split("=")[0] for word in words if word.startswith("--")):
        about = opening.about_run(runs.open_run(path))
        if flag.removeprefix("--").removeprefix("no-").replace("-", "_") in {"preset", *about["config"]}:
            raise UserError(
                f"{flag}: {path} goes on as it was configured; for another configuration start another run: "
                f"jaxgen run {shlex.quote(str(about.get('source') or about.get('experiment')))} {flag} ..."
            )


def _train(experiment: Any, preset: str, config: RunConfig, given: Any, reference: str, context: _Context) -> int:
    if given.workdir == "":
        raise UserError("--workdir needs the path of a folder, got an empty text")
    _join(given)
    _prepare_jax(not given.no_cache)
    from jaxgen.app import opening, runner

    def started(folder: Any) -> None:
        context.folder = folder.path
        context.again = opening.resume(folder)

    runner.train(
        experiment,
        preset,
        config,
        Path(given.workdir) if given.workdir else None,
        reference=reference,
        say=context.say,
        quiet=given.quiet,
        images=not given.no_images,
        started=started,
    )
    return 0


def _add_machine_flags(parser: Any) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--no-images", action="store_true", help="a page without images of the data, to send around")
    parser.add_argument("--no-cache", action="store_true", help="do not keep compiled programs for the next run")
    _add_file_limit(parser)
    parser.add_argument(
        "--coordinator", metavar="HOST:PORT", help="several processes: where the first one listens, or 'auto'"
    )
    parser.add_argument("--processes", type=_whole, metavar="N", help="several processes: how many there are")
    parser.add_argument("--process", type=_whole, metavar="I", help="several processes: which one this is, from 0")


def _add_file_limit(parser: Any) -> None:
    """The flag that lets small files decode to more, kept where readers of every thread and process find it."""

    def keep(text: str) -> int:
        file_limits.set_limit(found := _positive(text))
        return found

    parser.add_argument(
        "--max-file-mib",
        type=keep,
        metavar="N",
        help="MiB that a file may decode to, whatever its size on disk [default: 256, or 50 times its size]",
    )


def _join(given: Any) -> None:
    """Join the other processes of a run."""
    if given.coordinator is None:
        if given.processes is not None or given.process is not None:
            raise UserError("--coordinator HOST:PORT is needed with --processes and --process")
        return
    if not given.workdir:
        raise UserError("--workdir is needed with --coordinator: all processes share one run folder")
    import jax

    if given.coordinator == "auto":
        jax.distributed.initialize(shutdown_timeout_seconds=_PATIENCE)
        return
    if given.processes is None or given.process is None:
        raise UserError("--processes and --process are needed with --coordinator (or --coordinator auto on a cluster)")
    if not 0 <= given.process < given.processes:
        raise UserError(f"--process must be from 0 to {given.processes - 1}, got {given.process}")
    jax.distributed.initialize(given.coordinator, given.processes, given.process, shutdown_timeout_seconds=_PATIENCE)


def _apply(argv: list[str], context: _Context) -> int:
    parser = Parser(
        prog="jaxgen apply",
        description="Use a trained run on new images: PNG, TIFF, NIfTI, DICOM or npy.",
        epilog="example:\n  jaxgen apply runs/try images/ --out results\n"
        "  jaxgen apply runs/try 'scans/*.nii.gz' --out results\n"
        "  jaxgen apply runs/registration moving.nii.gz fixed.nii.gz --out registered",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("input", metavar="INPUT", nargs="+", help="a file, a folder, or a pattern such as 'a/*.png'")
    parser.add_argument("--out", metavar="DIR", required=True, help="where the results go")
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    parser.add_argument("--dicom-seg", action="store_true", help="DICOM in: write DICOM SEG instead of NIfTI")
    parser.add_argument("--seed", type=_whole, metavar="N", help="seed of the random numbers [default: the run's]")
    parser.add_argument("--labels", default="", metavar="FILE", help="registration: a label map of the moving image")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_consent_flags(parser)
    parser.add_argument("--no-cache", action="store_true", help="do not keep compiled programs for the next run")
    _add_file_limit(parser)
    given = parser.parse(argv)
    _not_empty(given.out, "--out")
    _prepare_jax(not given.no_cache)
    from jaxgen.app import apply

    failed = apply.apply_run(
        Path(given.run),
        given.input,
        Path(given.out),
        overwrite=given.overwrite,
        dicom_seg=given.dicom_seg,
        seed=given.seed,
        labels=given.labels,
        say=context.say,
        quiet=given.quiet,
    )
    return 1 if failed else 0


def _sample(argv: list[str], context: _Context) -> int:
    parser = Parser(prog="jaxgen sample", description="Draw samples from a trained run: images, samples.npz, a figure.")
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("--n", type=_positive, default=16, metavar="N", help="how many [default: 16]")
    parser.add_argument(
        "--label",
        action="append",
        metavar="NAMES",
        help="classes to draw, names or numbers: a,b [default: all in turn]",
    )
    parser.add_argument(
        "--covariates",
        action="append",
        metavar="NAME=VALUE",
        help="covariates in the units of the training data: age=70,sex=1 [default: those of training examples]",
    )
    parser.add_argument(
        "--prompt", action="append", metavar="TEXT", help="what to draw, in words; several of them in turn"
    )
    parser.add_argument(
        "--control",
        action="append",
        metavar="FILE",
        help="image that says where things are (edges, outlines), of the run's size; several of them in turn "
        "[default: those of test images]",
    )
    parser.add_argument("--strength", type=_number, metavar="WEIGHT", help="weight of --control; 0 is none")
    parser.add_argument(
        "--guidance",
        type=_number,
        metavar="SCALE",
        help="scale of the guidance by labels, covariates or prompts; 1 is none",
    )
    parser.add_argument("--sampler", metavar="NAME", help="how they are drawn [default: the run's]")
    parser.add_argument("--steps", type=_positive, metavar="N", help="steps of the sampler [default: the run's]")
    parser.add_argument("--out", metavar="DIR", help="where they go [default: RUN/samples; nothing in it is lost]")
    _add_consent_flags(parser)
    parser.add_argument("--seed", type=_whole, metavar="N", help="seed of the random numbers [default: the run's]")
    parser.add_argument("--no-cache", action="store_true", help="do not keep compiled programs for the next run")
    _add_file_limit(parser)
    given = parser.parse(argv)
    _not_empty(given.out, "--out")
    _prepare_jax(not given.no_cache)
    from jaxgen.app import sampling
    from jaxgen.app.sample_request import Request

    label = tuple(given.label) if given.label else None
    covariates = tuple(given.covariates) if given.covariates else None
    prompt = tuple(given.prompt) if given.prompt else None
    control = tuple(given.control) if given.control else None
    request = Request(label, covariates, given.guidance, given.sampler, given.steps, prompt, control, given.strength)
    sampling.sample(Path(given.run), given.n, Path(given.out) if given.out else None, given.seed, context.say, request)
    return 0


_EVAL = """Evaluate a trained run on its own test set, or with --data on all of other data, however those are split.
Baselines are fitted to the run's own training data and settings chosen on its own validation data, which must be there.
"""


def _eval(argv: list[str], context: _Context) -> int:
    parser = Parser(prog="jaxgen eval", description=_EVAL)
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument(
        "--data", metavar="D", help="a TFDS name, a folder or a .npz file, all of it [default: the run's test set]"
    )
    parser.add_argument("--slices", action="store_true", default=None, help="take volumes of D slice by slice")
    parser.add_argument("--foreground", metavar="F", help="what counts in the masks of D: binary, any, or a label")
    parser.add_argument("--out", metavar="DIR", help="where the results go [default: RUN/evaluations/...]")
    parser.add_argument("--no-images", action="store_true", help="a page without images of the data, to send around")
    _add_consent_flags(parser)
    parser.add_argument("--no-cache", action="store_true", help="do not keep compiled programs for the next run")
    _add_file_limit(parser)
    given = parser.parse(argv)
    _not_empty(given.out, "--out")
    _not_empty(given.data, "--data")
    _prepare_jax(not given.no_cache)
    from jaxgen.app import evaluating

    out, reading = Path(given.out) if given.out else None, {"slices": given.slices, "foreground": given.foreground}
    evaluating.evaluate(Path(given.run), given.data, out, context.say, images=not given.no_images, **reading)
    return 0


_COMPARE_EPILOG = """REAL and GENERATED are folders of images (or of folders of them, one a class), runs or their
samples/, patterns such as 'a/*.png', or .npz or .npy files (an array called images, samples, volumes or arr_0,
[n, height, width, channels]). The same number of images is taken of each, since the Frechet distance falls with it.
The range of values is that of the numbers' type, once for a set: 0 to 255 for 8 bits, -1 to 1 for samples of jaxgen
and for floats that fill it. For all others --range says it, and what --range says holds for both sets.

features:
  pixels       the pixels, at a small size: says whether brightness and coarse shapes agree
  random       random directions in the space of pixels
  inception    Inception of 2015, as the published FID: --weights pt_inception-2015-12-05-6726825d.pth
  radimagenet  ResNet-50 trained on radiologic images: --weights ResNet50.pt
  medicalnet   3-D ResNet for volumes (MedicalNet): --weights resnet_50_23dataset.pth

Files of weights are read without PyTorch, and never run code.

examples:
  jaxgen compare real/ runs/ddpm
  jaxgen compare real/ fake/ --features inception --weights pt_inception-2015-12-05-6726825d.pth --out fid.json
"""


def _compare(argv: list[str], context: _Context) -> int:
    parser = Parser(
        prog="jaxgen compare",
        description="How alike two sets of images are: Frechet and kernel distances, precision, recall, density,\n"
        "coverage, and the accuracy of a classifier that tells them apart.",
        epilog=_COMPARE_EPILOG,
    )
    parser.add_argument("real", metavar="REAL", help="real images")
    parser.add_argument("generated", metavar="GENERATED", help="generated images")
    parser.add_argument("--features", default="pixels", metavar="NAME", help="what is compared [default: pixels]")
    parser.add_argument("--weights", metavar="FILE", help="weights of the feature network")
    parser.add_argument("--size", type=_positive, metavar="N", help="bring all images to N pixels an axis first")
    parser.add_argument(
        "--range",
        type=_number,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="values of black and white in both sets [default: 0 255 for 8 bits, -1 1 for samples of jaxgen]",
    )
    parser.add_argument(
        "--n", type=_positive, metavar="N", help="images of each set at most [default: the smaller set]"
    )
    parser.add_argument("--seed", type=_whole, default=0, metavar="N", help="of the images taken [default: 0]")
    parser.add_argument("--out", metavar="FILE", help="write the numbers and how they were made as .json")
    parser.add_argument("--release", action="store_true", help="print the release report of GENERATED, a run, as well")
    parser.add_argument("--no-cache", action="store_true", help="do not keep compiled programs for the next time")
    _add_file_limit(parser)
    given = parser.parse(argv)
    for name in ("real", "generated", "weights", "out"):
        _not_empty(getattr(given, name), name.upper() if name in ("real", "generated") else f"--{name}")
    if given.range is not None and not given.range[0] < given.range[1]:
        raise UserError(f"--range: black must be below white, got {given.range[0]:g} and {given.range[1]:g}")
    _prepare_jax(not given.no_cache)
    from jaxgen.app import cards, compare

    released = ["", *cards.release_lines(given.generated)] if given.release else []
    compare.compare(
        given.real,
        given.generated,
        features=given.features,
        weights=given.weights,
        size=given.size,
        value_range=tuple(given.range) if given.range is not None else None,
        most=given.n,
        seed=given.seed,
        out=Path(given.out) if given.out else None,
        say=context.say,
    )
    for line in released:
        context.say(line)
    return 0


_CONVERT_EPILOG = """SOURCE is one of
  a model's folder of diffusers (U-Nets, ControlNets, DiT, autoencoders) or transformers (CLIP's text encoder)
  a pipeline's folder, such as Stable Diffusion's, with --part unet, vae or text_encoder
  a bundle of MONAI, with --part unet, autoencoder or controlnet
  a file of weights of MONAI (.pt, .pth, .safetensors), with --config FILE.json: its arguments and "_target_"
  a run of diffusion whose U-Net diffusers can build: --patch 1, --channels in multiples of 128, a table as --path
  a file that this command wrote

OUT says what becomes of it
  name.npz, name.safetensors   our parameters with their configuration (jaxgen.interop.tree_files.read)
  name.pt, name.pth            a network of MONAI: its state dict, with its arguments in name.json
  name                         a folder that diffusers or transformers read; of a run a whole pipeline

No file is unpickled, and PyTorch is not needed.

examples:
  jaxgen convert stable-diffusion-2/ unet.safetensors --part unet
  jaxgen convert unet.safetensors unet/
  jaxgen convert runs/ddpm pipeline/
  jaxgen convert autoencoder.pt autoencoder.npz --config autoencoder.json
"""


def _convert(argv: list[str], context: _Context) -> int:
    parser = Parser(
        prog="jaxgen convert",
        description="Convert a network between the files of jaxgen, diffusers, transformers and MONAI.",
        epilog=_CONVERT_EPILOG,
    )
    parser.add_argument("source", metavar="SOURCE", help="a folder or file with a network, or a run folder")
    parser.add_argument("out", metavar="OUT", help="the file or folder to write")
    parser.add_argument("--part", metavar="NAME", help="which network of a pipeline, a bundle or a run")
    parser.add_argument("--config", metavar="FILE", help="arguments of a network of MONAI, as JSON with '_target_'")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there already")
    _add_consent_flags(parser)
    _add_file_limit(parser)
    given = parser.parse(argv)
    for name in ("source", "out", "part", "config"):
        _not_empty(getattr(given, name), name.upper() if name in ("source", "out") else f"--{name}")
    from jaxgen.app import convert

    convert.convert(
        Path(given.source),
        Path(given.out),
        part=given.part,
        config=Path(given.config) if given.config else None,
        overwrite=given.overwrite,
        say=context.say,
    )
    return 0


def _report(argv: list[str], context: _Context) -> int:
    parser = Parser(
        prog="jaxgen report",
        description="Rebuild the page of a run; with several runs, a page that compares them; or print their results.",
    )
    parser.add_argument("run", metavar="RUN", nargs="+", help="run folder")
    parser.add_argument("--out", metavar="FILE", help="the page of a comparison [default: comparison.html]")
    parser.add_argument("--no-images", action="store_true", help="a page without images of the data, to send around")
    parser.add_argument(
        "--markdown",
        action="store_true",
        help="print the metrics as Markdown tables instead: methods by metrics, runs that differ in the seed together",
    )
    given = parser.parse(argv)
    _not_empty(given.out, "--out")
    from jaxgen.app import comparison_page, markdown, report, runs

    folders = [runs.open_run(path) for path in given.run]
    if given.markdown:
        if given.out is not None:
            raise UserError("--out is for pages; --markdown prints to standard output (write it to a file with >)")
        context.say(markdown.tables(folders))
        return 0
    if len(folders) == 1 and given.out is None:
        context.say(str(report.write(folders[0], images=not given.no_images)))
        return 0
    out = Path(given.out or "comparison.html")
    if out.is_dir():
        raise UserError(f"--out {out}: it is a folder; give the name of a file, such as {out / 'comparison.html'}")
    if out.exists() and b"content='jaxgen report'" not in out.read_bytes()[:2000]:
        raise UserError(f"--out {out}: it is there already and is no page of jaxgen; give another name")
    make = comparison_page.compare if len(folders) > 1 else lambda found, images: report.page(found[0], images=images)
    text = make(folders, images=not given.no_images)
    try:
        runs.write_text(out, text)
    except OSError as error:
        raise UserError(f"--out {out}: it cannot be written ({runs.explain(error)}); give another place") from error
    context.say(str(out))
    return 0


def _info(argv: list[str], context: _Context) -> int:
    parser = Parser(prog="jaxgen info", description="Versions, devices, memory and caches.")
    parser.add_argument("--json", action="store_true", help="for a bug report: as JSON, without paths and names")
    given = parser.parse(argv)
    from jaxgen.app import info

    for line in [json.dumps(info.details(), indent=2)] if given.json else info.lines():
        context.say(line)
    return 0


def _whole(text: str) -> int:
    return _bounded(text, 0, 2**32 - 1)


def _number(text: str) -> float:
    import argparse
    import math

    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}")
    return value


def _positive(text: str) -> int:
    return _bounded(text, 1, 10**6)


def _bounded(text: str, low: int, high: int) -> int:
    import argparse

    if not text.lstrip("-").isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}")
    if not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"must be from {low} to {high}, got {text}")
    return int(text)


def _not_empty(value: str | None, name: str) -> None:
    if value == "":
        raise UserError(f"{name} needs a value, got an empty text")
