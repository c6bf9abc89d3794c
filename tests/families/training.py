"""Training a small model in one compiled program, with fresh data at each step."""

import jax

from jaxgen.train import init_state, make_optimizer, make_train_step


def fit(model, draw, steps, *, seed=0, rate=1e-2, ema_decay=0.99, optimizers=None):
    """Train on ``draw(key) -> batch``; returns the averaged parameters and the metrics of each step."""
    key = jax.random.key(seed)
    batch = draw(key)
    groups = {name for objective in model.objectives for name in objective.groups}
    made = {name: make_optimizer(rate, steps=steps, warmup_steps=steps // 20) for name in sorted(groups)}
    made |= optimizers or {}
    step = make_train_step(model, made, ema_decay=ema_decay)

    @jax.jit
    def run(state):
        return jax.lax.scan(step, state, jax.vmap(draw)(jax.random.split(jax.random.fold_in(key, 1), steps)))

    state, metrics = run(init_state(model, made, key, batch))
    return state.ema, metrics
