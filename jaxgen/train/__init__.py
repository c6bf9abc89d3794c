"""Training: one step for every model, a loop that loses nothing."""

from jaxgen.train.checkpoint import Checkpointer, Loaded, Restored, checkpoint_steps, fingerprint, load_params
from jaxgen.train.ema import decay_at, update_ema
from jaxgen.train.interrupts import Interrupted, catch_signals
from jaxgen.train.loop import Diverged, Feed, LoopConfig, train_stage
from jaxgen.train.mesh import make_mesh
from jaxgen.train.optimizer import make_optimizer, make_schedule
from jaxgen.train.progress import Reporter
from jaxgen.train.sharding import Parallel, data_parallel
from jaxgen.train.stage import Evaluator, Shown, Stage, Trained
from jaxgen.train.state import TrainState, init_state
from jaxgen.train.step import make_many_steps, make_train_step
from jaxgen.train.watch import Adviser, Watch, critic_wins, falls, stays_low

__all__ = [
    "Adviser",
    "Checkpointer",
    "Diverged",
    "Evaluator",
    "Feed",
    "Interrupted",
    "Loaded",
    "LoopConfig",
    "Parallel",
    "Reporter",
    "Restored",
    "Shown",
    "Stage",
    "TrainState",
    "Trained",
    "Watch",
    "catch_signals",
    "checkpoint_steps",
    "critic_wins",
    "data_parallel",
    "decay_at",
    "falls",
    "fingerprint",
    "init_state",
    "load_params",
    "make_many_steps",
    "make_mesh",
    "make_optimizer",
    "make_schedule",
    "make_train_step",
    "stays_low",
    "train_stage",
    "update_ema",
]
