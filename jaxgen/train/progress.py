"""What a run tells while it runs: a bar or plain lines, log.jsonl, TensorBoard events."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from jaxgen.errors import UserError


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: could not be written ({error.strerror or error}); "
        "free some space or make the folder writable, then run the same command again"
    )


def cut_log(path: Path, stage: str, step: int) -> None:
    """Drop the lines of a log that a stage wrote after a step, and a last line that was cut short.

    Args:
        path: the log, one JSON object a line; it may be missing.
        stage: the stage that goes on.
        step: the step that it goes on from.

    Raises:
        UserError: if the log cannot be written.

    Example:
        >>> cut_log(Path("no/such/log.jsonl"), "flow", 100)
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record.get("stage") != stage or record.get("step", 0) <= step:
            kept.append(line + "\n")
    replacement = path.with_suffix(".tmp")
    try:
        replacement.write_text("".join(kept), encoding="utf-8")
        os.replace(replacement, path)
    except OSError as error:
        raise _unwritable(path, error) from error


class Reporter:
    """Tells how a run goes.

    On a terminal there is a bar with the loss, images per second and the time left; elsewhere a plain line every
    `interval` seconds. ``log.jsonl`` and the TensorBoard events (``tensorboard/<stage>/``) are flushed line by line.

    Args:
        folder: the run's folder; None writes no files.
        stream: where the bar or the lines go; None for standard error.
        quiet: no bar and no lines.
        interval: seconds between plain lines.

    Example:
        >>> reporter = Reporter(None, stream=sys.stdout)
        >>> reporter.message("compiling")
        compiling
    """

    def __init__(
        self,
        folder: str | PathLike[str] | None,
        stream: TextIO | None = None,
        quiet: bool = False,
        interval: float = 10.0,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.stream = sys.stderr if stream is None else stream
        self.quiet = quiet
        self.interval = interval
        self._bar: Any = None
        self._log: TextIO | None = None
        self._events: Any = None
        self._stage, self._steps, self._start = "", 0, 0
        self._began = self._last_line = 0.0

    def message(self, text: str) -> None:
        """Say one line, above the bar where there is one."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def start(self, stage: str, steps: int, step: int) -> None:
        """A stage starts, or goes on from a step; the log is cut back to it.

        Args:
            stage: the stage's name.
            steps: the step at which it will be done.
            step: the step that it starts from.

        Raises:
            UserError: if the folder cannot be written.
        """
        self._stage, self._steps, self._start = stage, steps, step
        if self.folder is not None:
            cut_log(self.folder / "log.jsonl", stage, step)
            try:
                self._log = (self.folder / "log.jsonl").open("a", encoding="utf-8")
                self._events = _Events(self.folder / "tensorboard" / stage, step)
            except OSError as error:
                raise _unwritable(self.folder, error) from error

    def training(self) -> None:
        """Training itself starts: the clock for examples per second and time left runs from here."""
        self._began = self._last_line = time.monotonic()
        if not self.quiet and self.stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._steps,
                initial=self._start,
                desc=self._stage,
                file=self.stream,
                dynamic_ncols=True,
                bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt}{postfix}, {remaining} left",
            )

    def advance(self, step: int, loss: float, images_per_second: float) -> None:
        """Show how far the stage is.

        Args:
            step: steps done.
            loss: the loss to show.
            images_per_second: the rate to show.
        """
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4g}, {images_per_second:.3g} examples/s", refresh=False)
            self._bar.update(step - self._bar.n)
            return
        now = time.monotonic()
        if now - self._last_line >= self.interval or step >= self._steps:
            self._last_line = now
            left = (self._steps - step) * (now - self._began) / max(step - self._start, 1)
            self.message(
                f"{self._stage}: step {step}/{self._steps}, loss {loss:.4g}, {images_per_second:.3g} examples/s, "
                f"{_duration(left)} left"
            )

    def log(self, record: Mapping[str, Any], image: bytes = b"") -> None:
        """Write one line of ``log.jsonl`` and its numbers as TensorBoard events.

        Args:
            record: what to write; ``step`` among it.
            image: the content of a PNG file for TensorBoard.

        Raises:
            UserError: if it cannot be written.
        """
        if self._log is None:
            return
        try:
            self._log.write(json.dumps(record) + "\n")
            self._log.flush()
            self._events.write(record, image)
        except OSError as error:
            raise _unwritable(Path(self._log.name), error) from error

    def finish(self) -> None:
        """The stage has ended; close its bar and its files. May be called twice."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        log, events = self._log, self._events
        self._log = self._events = None
        for file in (log, events):
            if file is not None:
                with contextlib.suppress(OSError):  # said already, when it was written
                    file.close()


class _Events:
    """TensorBoard events, written in this thread: a full disk is an error here and not a traceback elsewhere."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
        if step:  # readers drop what was logged at this step and later, before the restart
            session = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(wall_time=time.time(), step=step + 1, session_log=session))
        self._writer.flush()

    def write(self, record: Mapping[str, Any], image: bytes) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        numbers = {k: v for k, v in record.items() if isinstance(v, (int, float)) and k not in ("step", "time")}
        values = [Summary.Value(tag=name, simple_value=float(number)) for name, number in numbers.items()]
        if image:
            width, height = (int.from_bytes(image[i : i + 4], "big") for i in (16, 20))  # of a PNG's first chunk
            picture = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=image)
            values.append(Summary.Value(tag="evaluation", image=picture))
        self._writer.write_event(Event(wall_time=time.time(), step=record["step"], summary=Summary(value=values)))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
