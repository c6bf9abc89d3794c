import io
import json
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event

from jaxgen.errors import UserError
from jaxgen.train import Reporter
from jaxgen.train.progress import cut_log


class Terminal(io.StringIO):
    def isatty(self):
        return True


def events(folder):
    """All events of a folder, file by file in the order of writing."""
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda p: p.stat().st_mtime_ns):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            yield Event.FromString(data[at + 12 : at + 12 + length])
            at += length + 16


def run(folder, start, stop, stage="flow", stream=None, **options):
    reporter = Reporter(folder, stream=stream or io.StringIO(), **options)
    reporter.start(stage, 100, start)
    reporter.training()
    for step in range(start + 10, stop + 1, 10):
        reporter.advance(step, 0.5, 123.4)
        reporter.log({"stage": stage, "step": step, "loss": 1 / step})
    reporter.finish()


def test_the_log_is_cut_back_and_events_are_purged_on_resume(tmp_path):
    run(tmp_path, 0, 30, stage="other")
    run(tmp_path, 0, 50)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"stage": "flow", "ste')  # cut short by a kill
    run(tmp_path, 20, 40)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [(line["stage"], line["step"]) for line in lines]
    assert steps == [("other", s) for s in (10, 20, 30)] + [("flow", s) for s in (10, 20, 30, 40)]
    purges = [event.step for event in events(tmp_path / "tensorboard" / "flow") if event.session_log.status]
    assert purges == [21]
    seen = [(e.step, v.tag) for e in events(tmp_path / "tensorboard" / "flow") for v in e.summary.value]
    assert sorted(seen) == [(s, "loss") for s in (10, 20, 30, 30, 40, 40, 50)]


def test_cutting_keeps_what_is_before(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"stage": "a", "step": 5}\n{"stage": "a", "step": 6}\n')
    cut_log(path, "a", 5)
    assert path.read_text() == '{"stage": "a", "step": 5}\n'


def test_a_bar_on_a_terminal_and_plain_lines_elsewhere(tmp_path):
    terminal, pipe, file = Terminal(), io.StringIO(), io.StringIO()
    run(None, 0, 100, stream=terminal)
    run(None, 0, 100, stream=pipe, interval=0.0)
    run(None, 0, 100, stream=file, interval=1000.0)
    assert "\r" in terminal.getvalue()
    for shown in ("flow", "100%", "loss 0.5", "123 examples/s", "left"):
        assert shown in terminal.getvalue()
    assert "\r" not in pipe.getvalue()
    assert len(pipe.getvalue().splitlines()) == 10
    assert pipe.getvalue().splitlines()[-1].startswith("flow: step 100/100, loss 0.5, 123 examples/s, 0 s left")
    assert len(file.getvalue().splitlines()) == 1


def test_quiet_says_nothing():
    stream = io.StringIO()
    run(None, 0, 100, stream=stream, quiet=True)
    assert stream.getvalue() == ""


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    with pytest.raises(UserError, match="could not be written"):
        Reporter(tmp_path, quiet=True).start("flow", 10, 0)
