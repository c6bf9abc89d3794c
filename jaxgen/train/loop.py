"""The training loop: resumes, saves, reports, stops cleanly."""

import dataclasses
import time
import zlib
from collections import deque
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jaxgen.errors import UserError
from jaxgen.train.checkpoint import Checkpointer
from jaxgen.train.interrupts import Interrupted, StopRequest, catch_signals
from jaxgen.train.progress import Reporter
from jaxgen.train.sharding import Parallel, data_parallel
from jaxgen.train.stage import Evaluator, Shown, Stage, Trained
from jaxgen.train.state import TrainState, init_state, run_once
from jaxgen.train.step import make_many_steps, make_train_step

_RUN_AHEAD = 2
"""Calls handed to the device before the host waits for one: enough to keep it busy, few enough to bound memory."""


class Feed(Protocol):
    """Where batches come from; `jaxgen.data.pipeline.Feed` is one.

    The order of the examples is a function of the seed alone, so a position says all.
    """

    @property
    def position(self) -> int:
        """Batches handed out so far."""
        ...

    def seek(self, position: int) -> None:
        """Go to a position."""
        ...

    def peek(self, count: int) -> np.ndarray:
        """The examples of this process's next `count` batches, ``[count, local_b]``; stays where it is."""
        ...

    def indices(self, count: int) -> np.ndarray:
        """As `peek`, but moves on."""
        ...

    def __next__(self) -> Mapping[str, np.ndarray]:
        """This process's next batch, ``[local_b, ...]``."""
        ...

    def arrays(self, max_bytes: int) -> Mapping[str, np.ndarray] | None:
        """The whole data set as arrays, where it is small enough and of one size."""
        ...


class LoopConfig(Protocol):
    """What the loop reads of a configuration; `jaxgen.config.RunConfig` has it all."""

    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def ema_decay(self) -> float: ...  # noqa: D102
    @property
    def precision(self) -> Any: ...  # noqa: D102
    @property
    def steps_per_call(self) -> int: ...  # noqa: D102
    @property
    def checkpoint_every(self) -> int: ...  # noqa: D102
    @property
    def keep_checkpoints(self) -> int: ...  # noqa: D102
    @property
    def log_every(self) -> int: ...  # noqa: D102
    @property
    def parallel(self) -> Any: ...  # noqa: D102
    @property
    def devices(self) -> int: ...  # noqa: D102
    @property
    def shard_state(self) -> int: ...  # noqa: D102
    @property
    def space(self) -> int: ...  # noqa: D102
    @property
    def accumulate(self) -> int: ...  # noqa: D102


class Diverged(UserError):  # noqa: N818
    """The loss or a gradient is no longer a finite number.

    Attributes:
        step: the first step at which it was not.
    """

    def __init__(self, stage: str, step: int, name: str, value: float) -> None:
        super().__init__(
            f"stage {stage!r}: {name} became {value} at step {step}; nothing was saved since. Lower --learning-rate or "
            "--gradient-clip (or leave --precision at float32) and start in a new --workdir"
        )
        self.step = step


class _Sent(NamedTuple):
    """A call handed to the device."""

    step: int
    steps: int
    metrics: jax.Array
    examples: np.ndarray
    measured: Mapping[str, float]


def train_stage(
    stage: Stage,
    feed: Feed,
    config: LoopConfig,
    folder: str | PathLike[str],
    constants: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
    *,
    resident_bytes: int = 1 << 30,
    evaluator: Evaluator | None = None,
) -> Trained:
    """Train a stage to its end, going on from its newest checkpoint where there is one.

    Steps run in calls of `steps_per_call`, which begin at multiples of it; logs and checkpoints come at the end of the
    call in which they fall due. A run that was stopped therefore makes the same calls of the same programs as one that
    was not, and ends with the same bits.

    Args:
        stage: what to train.
        feed: its examples; this process's share of each batch of ``config.batch_size``.
        config: see `LoopConfig`; a dataclass is saved with the checkpoints.
        folder: the run's folder: checkpoints go to ``checkpoints/<stage>``, and see `Reporter`.
        constants: what sampling needs besides the parameters, saved with the checkpoints; a dict that JSON can hold.
        reporter: tells how it goes; a new one on `folder` if None.
        resident_bytes: the data set is kept on the device if it is no larger than this.
        evaluator: what to evaluate while training; the first process alone does, and the others wait. None for nothing.

    Returns:
        The trained stage.

    Raises:
        Interrupted: if Ctrl-C or SIGTERM asked to stop; everything up to then is saved.
        Diverged: if the loss or a gradient is not finite; the last checkpoint from before that is kept.
        UserError: if something cannot be written or read, or the batch cannot be split over the devices.
    """
    parallel = data_parallel(config.parallel, config.devices, shard=config.shard_state, space=config.space)
    if config.batch_size % parallel.size:
        groups = f"groups of {config.space} devices" if config.space > 1 else "devices"
        raise UserError(
            f"--batch-size {config.batch_size}: cannot be split over {parallel.size} {groups}; "
            f"use a multiple of {parallel.size}, or fewer --devices"
        )
    if config.batch_size % (parallel.size * config.accumulate):
        raise UserError(
            f"--accumulate {config.accumulate}: --batch-size {config.batch_size} on {parallel.size} devices cannot be "
            f"computed in {config.accumulate} equal parts; use a multiple of {parallel.size * config.accumulate}"
        )
    lead = jax.process_index() == 0
    if reporter is None or not lead:
        reporter = Reporter(folder if lead else None, quiet=not lead)
    try:
        with (
            catch_signals(reporter.message) as stop,
            Checkpointer(_checkpoints(Path(folder), stage), config.keep_checkpoints, reporter.message) as checkpointer,
        ):
            run = _Run(stage, feed, config, constants or {}, reporter, parallel, checkpointer, stop, evaluator)
            return run.train(resident_bytes)
    finally:
        reporter.finish()


def _checkpoints(folder: Path, stage: Stage) -> Path:
    former = folder / "checkpoints" / stage.stream
    return former if former.is_dir() else folder / "checkpoints" / stage.name


class _Run:
    """One call of `train_stage`."""

    def __init__(
        self,
        stage: Stage,
        feed: Feed,
        config: LoopConfig,
        constants: Mapping[str, Any],
        reporter: Reporter,
        parallel: Parallel,
        checkpointer: Checkpointer,
        stop: StopRequest,
        evaluator: Evaluator | None,
    ) -> None:
        self.stage, self.feed, self.config, self.constants = stage, feed, config, constants
        self.reporter, self.parallel, self.checkpointer, self.stop = reporter, parallel, checkpointer, stop
        self.evaluator = evaluator
        self.step = self.saved = self.start = self.last_count = 0
        # Of the log interval that is going on; saved with the checkpoints, so that a resumed run logs the same.
        self.sums: dict[str, float] = {}
        self.count = 0
        self.crc = 0
        self.advisers = () if stage.watch is None else stage.watch.advisers
        self.memories = [adviser.memory for adviser in self.advisers]
        self.watched: Mapping[str, np.ndarray] = {}
        self.seen: list[np.ndarray] = []
        self.names: list[str] = []
        self.programs: dict[int, Any] = {}
        self.sent: deque[_Sent] = deque()
        self.compile_seconds = self.recompile_seconds = self.evaluate_seconds = 0.0
        self.began = self.interval_began = 0.0

    def train(self, resident_bytes: int) -> Trained:
        stage, parallel = self.stage, self.parallel
        self.feed.seek(0)
        host_arrays = self.feed.arrays(resident_bytes)
        state = self.first_state(host_arrays)
        self.reporter.start(stage.name, stage.steps, self.start)
        arrays = parallel.place_whole(dict(host_arrays or {}))
        state = parallel.spread(state)
        while self.step < stage.steps:
            state = self.call(state, arrays)
            self.settle(_RUN_AHEAD)
            if self.evaluation_is_due():
                self.settle(0)
                self.evaluate(state)
            stop = self.asked_to_stop()
            if stop or self.step == stage.steps or self.due(self.config.checkpoint_every):
                self.settle(0)
                self.save(state)
            if stop and self.step < stage.steps:
                self.checkpointer.wait()
                raise Interrupted(stop, self.step, self.timings())
        self.checkpointer.wait()
        state = parallel.collect(state)
        return Trained(parallel.local(state.ema), state, self.timings())

    def timings(self) -> dict[str, Any]:
        """What this call did so far, see `Trained`."""
        other = self.recompile_seconds + self.evaluate_seconds
        timings = {
            "compile_seconds": self.compile_seconds,
            "train_seconds": time.perf_counter() - self.began - other if self.began else 0.0,
            "steps": self.step - self.start,
        }
        if self.evaluator is not None:
            timings["evaluate_seconds"] = self.evaluate_seconds
        return timings

    def first_state(self, arrays: Mapping[str, np.ndarray] | None) -> TrainState:
        """The newest checkpoint's state, else a new one."""
        stage, parallel = self.stage, self.parallel
        batch = next(self.feed) if arrays is None else _rows(arrays, self.feed.indices(1)[0])
        if stage.watch is not None and stage.watch.examples:
            self.watched = self.first_examples(stage.watch.examples, arrays)
        self.feed.seek(0)
        seed, stream = self.config.seed, zlib.crc32(stage.stream.encode())

        def init(batch: Any) -> TrainState:
            key, prepare_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), stream))
            if stage.prepare is not None:
                b = jax.tree.leaves(batch)[0].shape[0]
                batch = stage.prepare(jax.random.split(prepare_key, b), batch)
            return init_state(stage.model, stage.optimizers, key, batch)

        batch = parallel.place_batch(dict(batch))
        shapes = jax.eval_shape(init, batch)
        kept = parallel.kept(shapes)
        restored = self.checkpointer.restore_latest(shapes, kept)
        if restored is None:
            self.reporter.message(f"{stage.name}: initialising the parameters ...")
            began = time.perf_counter()
            state = jax.jit(init, out_shardings=kept, compiler_options=run_once())(batch)
            self.compile_seconds += time.perf_counter() - began
            return state
        self.step = self.saved = self.start = int(restored.state.step)
        self.feed.seek(restored.position)
        self.sums, self.count = restored.progress["sums"], restored.progress["count"]
        self.crc = restored.progress["examples"]
        self.memories = restored.progress.get("watch", self.memories)
        self.reporter.message(f"{stage.name}: going on from the checkpoint of step {self.step}")
        return restored.state

    def first_examples(self, count: int, arrays: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """The first `count` examples of this process's order."""
        self.feed.seek(0)
        batches = [_rows(arrays, self.feed.indices(1)[0]) if arrays else dict(next(self.feed))]
        while sum(len(next(iter(batch.values()))) for batch in batches) < count:
            batches.append(_rows(arrays, self.feed.indices(1)[0]) if arrays else dict(next(self.feed)))
        return {name: np.concatenate([batch[name] for batch in batches])[:count] for name in batches[0]}

    def measure(self, state: Any) -> Mapping[str, float]:
        """The numbers of the stage's watch where they are due; at once, for the next call takes the state's memory."""
        watch = self.stage.watch
        if watch is None or (self.step < self.stage.steps and not self.due(self.config.log_every * watch.every)):
            return {}
        params = self.averaged(state)
        if jax.process_index() != 0:
            return {}
        stream = zlib.crc32(f"{self.stage.stream} watch".encode())
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.config.seed), stream), self.step)
        return {name: float(value) for name, value in watch.measure(params, key, self.watched).items()}

    def averaged(self, state: Any) -> Any:
        """The running average of the parameters, on one device of this process; all processes must ask for it."""
        return self.parallel.local(self.parallel.collect(state).ema)

    def evaluation_is_due(self) -> bool:
        """Whether to evaluate after the last call."""
        evaluator = self.evaluator
        return (
            evaluator is not None and self.due(evaluator.every) and (evaluator.at_end or self.step < self.stage.steps)
        )

    def evaluate(self, state: Any) -> None:
        """Evaluate the parameters so far and log it; what fails is a warning, for training matters more."""
        if self.evaluator is None:
            return
        params = self.averaged(state)
        if jax.process_index() != 0:
            return
        began = time.perf_counter()
        where, image, said = {"stage": self.stage.name, "step": self.step}, b"", dict[str, Any]()
        try:
            shown = self.evaluator.show(params, self.step)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            said = {"warning": f"the evaluation while training failed: {reason}"}
            self.reporter.message(f"{self.stage.name}: warning at step {self.step}: {said['warning']}")
        else:
            said, image = (_line_of(shown), shown.image) if shown is not None else ({}, b"")
            if shown is not None:
                numbers = ", ".join(f"{name} {value:.4g}" for name, value in shown.numbers.items())
                self.reporter.message(f"{self.stage.name}: evaluated at step {self.step}: {shown.headline or numbers}")
        seconds = time.perf_counter() - began
        self.evaluate_seconds += seconds
        self.interval_began += seconds
        if said:
            self.reporter.log(where | said | {"time": round(time.time(), 3)}, image)

    def advise(self, numbers: Mapping[str, float], step: int) -> dict[str, str]:
        """What the watch's advisers have to say of a line of the log."""
        read = [adviser.read(memory, numbers) for adviser, memory in zip(self.advisers, self.memories, strict=True)]
        self.memories = [memory for memory, _ in read]
        warnings = [warning for _, warning in read if warning is not None]
        for warning in warnings:
            self.reporter.message(f"{self.stage.name}: warning at step {step}: {warning}")
        return {"warning": "; ".join(warnings)} if warnings else {}

    def next_count(self) -> int:
        """How many steps the next call makes."""
        k = self.config.steps_per_call
        return min(k - self.step % k, self.stage.steps - self.step)

    def due(self, every: int, step: int | None = None, count: int | None = None) -> bool:
        """Whether a multiple of `every` lies within the last call (or the call given)."""
        step = self.step if step is None else step
        count = self.last_count if count is None else count
        return step // every != (step - count) // every

    def program(self, state: Any, arrays: Any, inputs: Any, count: int) -> Any:
        """The compiled call of `count` steps."""
        if count in self.programs:
            return self.programs[count]
        stage, config = self.stage, self.config
        step = make_train_step(
            stage.model,
            stage.optimizers,
            ema_decay=config.ema_decay,
            prepare=stage.prepare,
            precision=config.precision,
            axis_name=self.parallel.axis_name,
            accumulate=config.accumulate,
            placed=self.parallel.placement,
        )
        many = make_many_steps(step)

        def chunk(state: TrainState, arrays: Any, inputs: Any) -> tuple[TrainState, jax.Array]:
            state, metrics = many(state, arrays, inputs)
            self.names = sorted(metrics)
            # One small array, so that a call costs one transfer.
            return state, jnp.stack([metrics[name] for name in self.names], axis=-1)

        self.reporter.message(f"{stage.name}: compiling the train step ...")
        began = time.perf_counter()
        self.programs[count] = self.parallel.compile(chunk, state).lower(state, arrays, inputs).compile()
        seconds = time.perf_counter() - began
        self.compile_seconds += seconds
        self.reporter.message(f"{stage.name}: compiled in {seconds:.1f} s")
        if self.began:
            self.recompile_seconds += seconds
        else:
            self.reporter.training()
            self.began = self.interval_began = time.perf_counter()
        return self.programs[count]

    def batches(self, count: int) -> dict[str, np.ndarray]:
        """The next batches, stacked."""
        batches = [dict(next(self.feed)) for _ in range(count)]
        if count == 1:
            return {name: np.asarray(value)[None] for name, value in batches[0].items()}
        return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}

    def call(self, state: Any, arrays: Any) -> Any:
        """Hand one call to the device."""
        count = self.next_count()
        examples = self.feed.indices(count) if arrays else self.feed.peek(count)
        inputs = self.parallel.place_inputs(examples if arrays else self.batches(count))
        state, metrics = self.program(state, arrays, inputs, count)(state, arrays, inputs)
        self.step += count
        self.last_count = count
        self.sent.append(_Sent(self.step, count, metrics, examples, self.measure(state)))
        return state

    def settle(self, remaining: int) -> None:
        """Wait until at most `remaining` calls are under way, and take in the numbers of those that ended."""
        while len(self.sent) > remaining:
            done = self.sent.popleft()
            rows = self.parallel.fetch(done.metrics)
            first = done.step - done.steps + 1
            for column, name in enumerate(self.names):
                if name.startswith(("loss", "grad_norm")) and not np.isfinite(rows[:, column]).all():
                    row = int(np.argmin(np.isfinite(rows[:, column])))
                    raise Diverged(self.stage.name, first + row, name, float(rows[row, column]))
            totals = rows.astype(np.float64).sum(axis=0)
            self.sums = {
                name: self.sums.get(name, 0.0) + float(total) for name, total in zip(self.names, totals, strict=True)
            }
            self.count += done.steps
            self.seen.append(done.examples)
            self.report(done, rows)

    def report(self, done: _Sent, rows: np.ndarray) -> None:
        """Show how far the run is, and write a line of the log where one is due."""
        now = time.perf_counter()
        rate = (done.step - self.start) * self.config.batch_size / max(now - self.began - self.evaluate_seconds, 1e-9)
        losses = [column for column, name in enumerate(self.names) if name.startswith("loss")]
        self.reporter.advance(done.step, float(rows[-1, losses].sum()), rate)
        if done.step < self.stage.steps and not self.due(self.config.log_every, done.step, done.steps):
            return
        means = {name: self.sums[name] / self.count for name in self.names}
        loss = {"loss": means["loss"]} if "loss" in means else {}
        seconds = max(now - self.interval_began, 1e-9)
        self.reporter.log(
            {"stage": self.stage.name, "step": done.step}
            | loss
            | means
            | dict(done.measured)
            | self.advise(means | dict(done.measured), done.step)
            | {
                "examples": f"{self.examples():08x}",
                "images_per_second": round(self.count * self.config.batch_size / seconds, 3),
                "time": round(time.time(), 3),
            }
        )
        self.sums, self.count, self.interval_began = {}, 0, now
        self.checkpointer.check()

    def examples(self) -> int:
        """The checksum of all examples used so far, in their order, those of other processes too."""
        if self.seen:
            order = np.concatenate(self.seen).astype("<i4")
            if jax.process_count() > 1:
                order = np.concatenate(multihost_utils.process_allgather(order), axis=1)
            self.crc = zlib.crc32(np.ascontiguousarray(order).data, self.crc)
            self.seen = []
        return self.crc

    def asked_to_stop(self) -> int:
        """The signal that asked to stop, or 0. Several processes agree on it, at log intervals."""
        if jax.process_count() == 1:
            return self.stop.signal
        if not self.due(self.config.log_every) and not self.due(self.config.checkpoint_every):
            return 0
        return int(multihost_utils.process_allgather(np.int32(self.stop.signal)).max())

    def save(self, state: Any) -> None:
        if self.step == self.saved:
            return
        config = self.config
        self.checkpointer.save(
            self.parallel.collect(state),
            position=self.feed.position,
            progress={
                "sums": self.sums,
                "count": self.count,
                "examples": self.examples(),
                "watch": self.memories,
            },
            constants=self.constants,
            config=dataclasses.asdict(config) if dataclasses.is_dataclass(config) else {},
        )
        self.saved = self.step


def _line_of(shown: Shown) -> dict[str, Any]:
    """An evaluation as entries of a line of the log."""
    texts = {"headline": shown.headline, "figure": shown.figure, "caption": shown.caption}
    numbers = {f"evaluation/{name}": value for name, value in shown.numbers.items()}
    return numbers | {name: text for name, text in texts.items() if text}


def _rows(arrays: Mapping[str, np.ndarray], chosen: np.ndarray) -> dict[str, np.ndarray]:
    return {name: array[chosen] for name, array in arrays.items()}
