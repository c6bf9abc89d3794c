"""Training a small model in one compiled program, with fresh data at each step."""

from collections import Counter

import jax

from jaxgen.train import init_state, make_optimizer, make_train_step


def fit(model, draw, steps, *, seed=0, rate=1e-2, rates=None, b1=0.9, ema_decay=0.99, optimizers=None):
    """Train on ``draw(key) -> batch``; returns the averaged parameters and the metrics of each step."""
    key = jax.random.key(seed)
    batch = draw(key)
    # An optimizer's schedule counts its updates, and a group has one for each objective that trains it.
    times = Counter(name for objective in model.objectives for name in objective.groups)
    made = {
        name: make_optimizer((rates or {}).get(name, rate), steps=n * steps, warmup_steps=n * steps // 20, b1=b1)
        for name, n in sorted(times.items())
    }
    made |= optimizers or {}
    step = make_train_step(model, made, ema_decay=ema_decay)

    @jax.jit
    def run(state):
        return jax.lax.scan(step, state, jax.vmap(draw)(jax.random.split(jax.random.fold_in(key, 1), steps)))

    state, metrics = run(init_state(model, made, key, batch))
    return state.ema, metrics
