"""Checkpoints: written without stopping the run, checked when they are read. The only file that knows Orbax."""

import errno
import inspect
import json
import logging
import os
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Sharding, SingleDeviceSharding
from orbax.checkpoint.checkpoint_managers import preservation_policy

from jaxgen.errors import UserError
from jaxgen.train.mesh import whole_of
from jaxgen.train.state import TrainState
from jaxgen.types import Params

_FORMAT = 1
_SPARE_BYTES = 100_000
_STATE = ("step", "params", "opt_state", "key")

logger = logging.getLogger(__name__)


class Restored(NamedTuple):
    """A checkpoint read back to go on training.

    Attributes:
        state: the state, on the devices asked for.
        position: batches handed out by the data feed.
        progress: what the training loop keeps besides the state.
        constants: what sampling needs besides the parameters.
        config: the configuration of the run that saved it.
    """

    state: TrainState
    position: int
    progress: dict[str, Any]
    constants: dict[str, Any]
    config: dict[str, Any]


class Loaded(NamedTuple):
    """A checkpoint read to sample from.

    Attributes:
        params: the running average of the parameters.
        constants: what sampling needs besides the parameters.
        config: the configuration of the run that saved it.
        step: the training step it was saved at.
    """

    params: Params
    constants: dict[str, Any]
    config: dict[str, Any]
    step: int


def fingerprint(tree: Any) -> int:
    """A checksum (CRC-32) of all values of a tree, in the tree's order; structure and sharding do not enter.

    Example:
        >>> fingerprint({"w": np.zeros(2)}) == fingerprint({"w": np.ones(2)})
        False
    """
    crc = 0
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        elif isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            leaf = whole_of(leaf)  # one at a time
        values = np.ascontiguousarray(leaf)
        crc = zlib.crc32(values.reshape(-1).view(np.uint8).data, crc)
    return crc


def checkpoint_steps(folder: str | PathLike[str]) -> list[int]:
    """The steps of the complete checkpoints in a folder, oldest first.

    Example:
        >>> checkpoint_steps("no/such/folder")
        []
    """
    folder = Path(folder)
    if not folder.is_dir():
        return []
    found = (entry for entry in folder.iterdir() if entry.name.isdigit())
    return sorted(int(entry.name) for entry in found if (entry / "_CHECKPOINT_METADATA").exists())


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    known = re.search(
        "No space left on device|Disk quota exceeded|File too large|Read-only file system|Permission denied", text
    )
    if known:
        return known[0].lower()
    text = text.partition(". See full TensorStore details")[0]
    return text if len(text) <= 160 else text[:160] + "..."


class _Hook:
    """`sys.excepthook` without what reads and writes that are still under way say to an event loop that is gone."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self._hook = hook

    def __call__(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not _too_late(error):
            self._hook(kind, error, trace)


class _Unraisable:
    """`sys.unraisablehook` without those, nor the reads of Orbax that nobody waits for once another one has failed."""

    def __init__(self, hook: Callable[[Any], Any]) -> None:
        self._hook = hook

    def __call__(self, found: Any) -> None:
        left = inspect.iscoroutine(found.object) and "orbax" in found.object.cr_code.co_filename
        if not (left or _too_late(found.exc_value)):
            self._hook(found)


def _too_late(error: BaseException | None) -> bool:
    return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"


def _quiet() -> Callable[[], None]:
    """Keep Orbax's threads from printing errors that are raised here as well; returns what undoes it."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels, hooks = [one.level for one in loggers], (sys.excepthook, sys.unraisablehook)
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    ours = None if isinstance(hooks[0], _Hook) else (_Hook(hooks[0]), _Unraisable(hooks[1]))  # one pair is enough
    if ours is not None:
        sys.excepthook, sys.unraisablehook = ours

    def undo() -> None:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
        if ours is not None and sys.excepthook is ours[0]:
            sys.excepthook, sys.unraisablehook = hooks

    return undo


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what goes wrong while a checkpoint is written into one line."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        for leftover in folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(leftover, ignore_errors=True)
        steps = checkpoint_steps(folder)
        kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "no checkpoint was written before"
        raise UserError(
            f"{folder}: a checkpoint could not be written ({_reason(error)}); {kept}; "
            "free some space or make the folder writable, then run the same command again"
        ) from error


class Checkpointer:
    """Saves and restores the state of one training stage.

    A checkpoint is written while training goes on, and has its name only once it is whole. It holds the running
    average apart from the rest of the state, so that `load_params` needs nothing of the training.

    Args:
        folder: where the checkpoints are; created if missing.
        keep: how many of the newest to keep.
        warn: called with one line for each checkpoint that cannot be read.

    Raises:
        UserError: if the folder cannot be created or written.

    Example:
        >>> import tempfile, jax.numpy as jnp
        >>> zero = jnp.zeros((), jnp.int32)
        >>> state = TrainState(zero, {"net": jnp.ones(2)}, {"net": jnp.ones(2)}, {}, jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder, Checkpointer(folder) as checkpointer:
        ...     checkpointer.save(state._replace(step=zero + 7), position=7)
        ...     restored = checkpointer.restore_latest(jax.eval_shape(lambda: state))
        >>> int(restored.state.step), restored.position
        (7, 7)
    """

    def __init__(
        self, folder: str | PathLike[str], keep: int = 2, warn: Callable[[str], None] = logger.warning
    ) -> None:
        self.folder = Path(folder).absolute()
        self.warn = warn
        self._loud = _quiet()
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=preservation_policy.LatestN(n=keep),
                    cleanup_tmp_directories=True,
                ),
            )

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def save(
        self,
        state: TrainState,
        *,
        position: int,
        progress: Mapping[str, Any] | None = None,
        constants: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Save a checkpoint under the state's step; returns once the state has been copied from the devices.

        Waits for the save before it, if that is still running.

        Args:
            state: the state, however its arrays are spread over devices.
            position: batches handed out by the data feed.
            progress: what the training loop keeps as well as the state; a dict that JSON can hold, like the next two.
            constants: what sampling needs besides the parameters.
            config: the configuration of the run.

        Raises:
            UserError: if this save or the one before failed; the checkpoints before are kept.
            TypeError: if JSON cannot hold one of the dicts.
        """
        meta = {
            "format": _FORMAT,
            "position": position,
            "progress": dict(progress or {}),
            "constants": dict(constants or {}),
            "config": dict(config or {}),
        }
        json.dumps(meta)
        rest = {name: getattr(state, name) for name in _STATE}
        meta["fingerprints"] = {"state": fingerprint(rest), "ema": fingerprint(state.ema)}
        step = int(state.step)
        with self._writing():
            self._manager.wait_until_finished()
            # Asked beforehand because Orbax, once it runs out of space, leaves many lines and half a checkpoint.
            if shutil.disk_usage(self.folder).free < _nbytes(state) + _SPARE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            saved = self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(rest),
                    ema=ocp.args.StandardSave(state.ema),
                    meta=ocp.args.JsonSave(meta),
                ),
            )
        if not saved:
            raise RuntimeError(f"{self.folder}: the checkpoint of step {step} was skipped")

    def check(self) -> None:
        """Raise what went wrong in a save that has ended since; does not wait.

        Raises:
            UserError: if that save failed.
        """
        with self._writing():
            self._manager.check_for_errors()

    def wait(self) -> None:
        """Wait until the last save is on disk.

        Raises:
            UserError: if it failed.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait for the last save and let go of the folder.

        Raises:
            UserError: if the last save failed.
        """
        with self._writing():
            self._manager.close()
        self._loud()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with _writing(self.folder):
                yield
        except UserError:
            self._loud = lambda: None  # the threads of the save that failed may still have something to say
            raise

    def restore_latest(self, abstract: TrainState, sharding: Any = None) -> Restored | None:
        """The newest checkpoint that can be read.

        One that cannot (cut short, or its values do not match their checksum) is set aside under the name
        ``unreadable-<step>``, saying so, and the one before is tried.

        Args:
            abstract: shapes and dtypes of the state, from `jax.eval_shape`.
            sharding: where the arrays go: one sharding for all, or a tree of them; the first device if None. How the
                arrays were placed when they were saved does not matter.

        Returns:
            What was saved, or None where there is no checkpoint.

        Raises:
            UserError: if there are checkpoints and none can be read.
        """
        self.wait()
        abstract = _placed(abstract, sharding)
        rest = {name: getattr(abstract, name) for name in _STATE}
        steps = sorted(self._manager.all_steps(), reverse=True)
        for tried, step in enumerate(steps):
            try:
                read = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(rest),
                        ema=ocp.args.StandardRestore(abstract.ema),
                        meta=ocp.args.JsonRestore(),
                    ),
                )
                state = TrainState(**read.state, ema=read.ema)
                _verify("state", read.state, read.meta)
                _verify("ema", read.ema, read.meta)
            except Exception as error:
                self._loud = lambda: None  # the threads of the read that failed may still have something to say
                if step == steps[-1]:
                    raise UserError(
                        f"{self.folder}: no checkpoint can be read by this model (step {step}: {_reason(error)}); "
                        "run with the code and flags it was saved with, or delete the folder to start again"
                    ) from error
                self.warn(
                    f"{self.folder / str(step)}: this checkpoint cannot be read ({_reason(error)}); "
                    f"going back to the one of step {steps[tried + 1]}"
                )
                continue
            for unreadable in steps[:tried]:
                self._set_aside(unreadable)
            meta = read.meta
            return Restored(state, meta["position"], meta["progress"], meta["constants"], meta["config"])
        return None

    def _set_aside(self, step: int) -> None:
        if jax.process_index() == 0:
            aside = self.folder / f"unreadable-{step}"
            with self._writing():
                shutil.rmtree(aside, ignore_errors=True)
                (self.folder / str(step)).rename(aside)
        if jax.process_count() > 1:
            ocp.utils.sync_global_processes(f"set_aside_{step}")
        self._manager.reload()


def load_params(
    folder: str | PathLike[str],
    like: Params | None = None,
    step: int | None = None,
    warn: Callable[[str], None] = logger.warning,
) -> Loaded:
    """The parameters to sample with, from a stage's folder of checkpoints; nothing of the training is needed.

    Args:
        folder: the stage's folder of checkpoints.
        like: shapes and dtypes of the parameters, from ``jax.eval_shape(model.init, key, batch)``; None takes them
            from the checkpoint, which is enough for parameters held in dicts.
        step: the checkpoint to read; None for the newest that can be read.
        warn: called with one line for each checkpoint that cannot be read and has one before it.

    Returns:
        The parameters, on the first device of this process, and what was saved with them.

    Raises:
        UserError: if there is no checkpoint, or none that can be read.

    Example:
        >>> load_params("no/such/run")
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: no/such/run: holds no checkpoint; train first, or name the folder of a trained stage
    """
    path = Path(folder)
    steps = checkpoint_steps(path) if step is None else [s for s in checkpoint_steps(path) if s == step]
    if not steps:
        wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise UserError(f"{folder}: holds {wanted}; train first, or name the folder of a trained stage")
    undo = _quiet()
    try:
        for number in reversed(steps):
            at = path.absolute() / str(number)
            try:
                with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
                    meta = reader.restore(at / "meta")
                with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
                    saved = _saved_tree(reader, at / "ema") if like is None else like
                    params = reader.restore(at / "ema", args=ocp.args.StandardRestore(_placed(saved)))
                _verify("ema", params, meta)
                return Loaded(params, meta["constants"], meta["config"], number)
            except Exception as error:
                undo = lambda: None  # noqa: E731  # the threads of the read that failed may still have something to say
                if number == steps[0]:
                    raise UserError(
                        f"{at}: this checkpoint cannot be read ({_reason(error)}); "
                        "copy it again, or run the training again to write a new one"
                    ) from error
                warn(f"{at}: this checkpoint cannot be read ({_reason(error)}); going back to the one before")
    finally:
        undo()
    raise AssertionError("unreachable")


def _saved_tree(reader: Any, at: Path) -> Any:
    """Shapes and dtypes of what was saved."""
    found = reader.metadata(at).item_metadata
    if found is None:
        raise ValueError("its index is damaged")
    return found.tree


def _placed(abstract: Any, sharding: Any = None) -> Any:
    place = sharding or SingleDeviceSharding(jax.local_devices()[0])
    places = jax.tree.map(lambda x: place, abstract) if isinstance(place, Sharding) else place
    return jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), abstract, places)


def _nbytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _verify(name: str, tree: Any, meta: Mapping[str, Any]) -> None:
    if fingerprint(tree) != meta["fingerprints"][name]:
        raise ValueError(f"the values of {name!r} do not match their checksum")
