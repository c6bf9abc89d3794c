"""A small training run for the tests of this folder; as a script, one that other processes can start and kill."""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen import draws
from jaxgen.train import (
    Evaluator,
    Interrupted,
    Reporter,
    Shown,
    Stage,
    fingerprint,
    make_optimizer,
    mesh,
    train_stage,
)
from jaxgen.types import Model, Objective


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = 0
    batch_size: int = 8
    ema_decay: float = 0.9
    precision: str = "float32"
    steps_per_call: int = 1
    checkpoint_every: int = 4
    keep_checkpoints: int = 2
    log_every: int = 3
    parallel: str = "jit"
    devices: int = 1
    shard_state: int = 1
    space: int = 1
    accumulate: int = 1


class Feed:
    """A new order every epoch, a function of (seed, n) alone; each process takes its slice of each batch."""

    def __init__(self, n=40, batch_size=8, seed=0, resident=True, on_batch=lambda position: None):
        self.n, self.batch_size, self.seed, self.resident, self.on_batch = n, batch_size, seed, resident, on_batch
        images = np.random.default_rng(1).integers(0, 256, (n, 6, 6, 1)).astype(np.uint8)
        self.data = {"image": images, "label": (images.mean((1, 2, 3)) > 127).astype(np.int32)}
        self.position = 0

    def seek(self, position):
        self.position = position

    def order(self, position, count):
        want = np.arange(position * self.batch_size, (position + count) * self.batch_size)
        epochs = range(want[0] // self.n, want[-1] // self.n + 1) if count else ()
        order = {e: np.random.default_rng((self.seed, e)).permutation(self.n) for e in epochs}
        flat = np.array([order[i // self.n][i % self.n] for i in want], np.int32)
        return flat.reshape(count, self.batch_size)

    def indices(self, count):
        rows = self.peek(count)
        for _ in range(count):
            self.on_batch(self.position)
            self.position += 1
        return rows

    def peek(self, count):
        rows = self.order(self.position, count)
        local = self.batch_size // jax.process_count()
        return rows[:, jax.process_index() * local :][:, :local]

    def __next__(self):
        (row,) = self.indices(1)
        return {name: array[row] for name, array in self.data.items()}

    def arrays(self, max_bytes):
        return self.data if self.resident else None


def make_model(poison_from=None):
    """A convolution and a dense layer that denoise; the noise is drawn example by example."""

    def init(key, batch):
        a, b = jax.random.split(key)
        channels = batch["image"].shape[-1]
        return {
            "net": {
                "conv": 0.3 * jax.random.normal(a, (3, 3, channels, 8)),
                "dense": 0.3 * jax.random.normal(b, (8, channels)),
                "bias": jnp.zeros(channels),
            }
        }

    def loss(params, key, batch):
        net, x = params["net"], batch["image"]
        noise = draws.normal(key, x.shape)
        dims = ("NHWC", "HWIO", "NHWC")
        h = jax.lax.conv_general_dilated(x + 0.5 * noise, net["conv"], (1, 1), "SAME", dimension_numbers=dims)
        error = jnp.tanh(h) @ net["dense"] + net["bias"] - x
        value = (error**2).mean((1, 2, 3))
        return value, {"bias": jnp.abs(net["bias"]).sum(), "label": batch["label"].astype(jnp.float32)}

    return Model(init, (Objective("net", loss),), lambda params, key, n, cond=None: jnp.zeros((n, 6, 6, 1)))


def prepare(key, batch):
    flip = draws.uniform(key, key.shape) < 0.5
    image = batch["image"].astype(jnp.float32) / 127.5 - 1
    return {**batch, "image": jnp.where(flip[:, None, None, None], image[:, :, ::-1], image)}


def make_stage(steps=10, optimizer=None, name="tiny", model=None):
    optimizer = optimizer or make_optimizer(0.02, warmup_steps=3, steps=100, clip=1.0, weight_decay=0.01)
    return Stage(name, model or make_model(), {"net": optimizer}, steps, prepare)


def sgd_stage(steps=5):
    """Plain SGD: gradients that are too large by a factor cannot hide behind Adam's scaling."""
    return make_stage(steps, optax.sgd(0.5, momentum=0.9))


def train(folder, steps=10, stage=None, feed=None, reporter=None, constants=None, evaluator=None, **config):
    config = Config(**config)
    Path(folder).mkdir(parents=True, exist_ok=True)
    feed = feed or Feed(batch_size=config.batch_size, seed=config.seed)
    reporter = reporter or Reporter(folder if jax.process_index() == 0 else None, quiet=True)
    stage, constants = stage or make_stage(steps), constants or {"scale": 127.5}
    return train_stage(stage, feed, config, folder, constants, reporter, evaluator=evaluator)


def evaluate(params, step):
    """An evaluation while training that takes longer than a step."""
    time.sleep(0.5)
    return Shown({"norm": float(jax.jit(optax.global_norm)(params))})


def read_log(folder):
    """The lines of log.jsonl without what a clock put there."""
    lines = (Path(folder) / "log.jsonl").read_text().splitlines()
    clock = ("time", "images_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in clock} for line in lines]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--stages", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds a call is slowed down by")
    parser.add_argument("--sgd", action="store_true")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--local-devices", type=int, default=1)
    parser.add_argument("--evaluate-every", type=int, default=0)
    parser.add_argument("--coordinator", default="")
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    for field in dataclasses.fields(Config):
        parser.add_argument("--" + field.name.replace("_", "-"), type=type(field.default), default=field.default)
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", args.local_devices)
    if args.coordinator:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(args.coordinator, args.processes, args.process)
    mesh._SMALLEST = 8  # so that the arrays of this network are divided
    config = {field.name: getattr(args, field.name) for field in dataclasses.fields(Config)}
    feed = Feed(
        batch_size=args.batch_size,
        seed=args.seed,
        resident=not args.stream,
        on_batch=lambda position: time.sleep(args.pause if position else 0),
    )
    reporter = Reporter(args.workdir if args.process == 0 else None, interval=0.0)
    args.workdir.mkdir(parents=True, exist_ok=True)
    metrics = {}
    try:
        for number in range(args.stages):
            name = f"stage{number}" if args.stages > 1 else "tiny"
            stage = (sgd_stage(args.steps) if args.sgd else make_stage(args.steps))._replace(name=name)
            shown = Evaluator(args.evaluate_every, evaluate) if args.evaluate_every else None
            trained = train(args.workdir, stage=stage, feed=feed, reporter=reporter, evaluator=shown, **config)
            metrics[name] = {"params": fingerprint(trained.params), "step": int(trained.state.step)}
    except Interrupted as interrupted:
        print(interrupted, flush=True)
        return interrupted.exit_code
    if args.process == 0:
        (args.workdir / "metrics.json").write_text(json.dumps(metrics))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
