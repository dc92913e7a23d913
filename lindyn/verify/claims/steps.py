"""Claims about Theorem 1 for steps of SGD, on a network with ReLUs and a BatchNorm."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from lindyn.theory import theorems
from lindyn.theory.theorems import SGD, Layers
from lindyn.verify import random_problems
from lindyn.verify.claims.claim import apart, claim


BATCH, STEPS = 16, 200
KEEP = 0.99  # fraction of the target that a step keeps


class Network(NamedTuple):
    """f = W [h; 1] with h = relu(encoder [x; 1]), predictor last [relu(BN(Wp f + bias)); 1]."""

    encoder: Float[Array, "hidden inputs"]
    W: Float[Array, "d inputs"]
    Wp: Float[Array, "hidden d"]
    bias: Float[Array, " hidden"]
    last: Float[Array, "d features"]

    @property
    def layers(self) -> Layers:
        return Layers(W=self.W, Wp=self.Wp)


@claim(
    "for steps with momentum, T' = m (T - a D) + R and Q' = Q - 2 a T' + a^2 D'",
    "Theorem 1, derived",
    1e-12,
)
def theorem_1_heavy_ball(problem):
    return _unexplained(problem)


@claim("and with Nesterov's, Q' = Q - 2 a (R + m T') + a^2 E'", "Theorem 1, derived", 1e-12)
def theorem_1_nesterov(problem):
    return _unexplained(problem, nesterov=True)


@claim("with decoupled decay, Q' = Q - 2 a (R + T') + a^2 E'", "Theorem 1, derived", 1e-12)
def theorem_1_decoupled(problem):
    return _unexplained(problem, decoupled=True)


@claim(
    "at one rate Q has the flow's decay and a source, but for the last step's lag",
    "Theorem 1, derived",
    1e-12,
)
def theorem_1_source(problem):
    sgd, rate = _sgd(problem, nesterov=True), 0.02
    run = _trained(problem, sgd, jnp.full(STEPS, rate))
    ledger, m = _ledger(run, sgd), sgd.momentum
    encoder = jnp.einsum("tij,tkj->ik", run.at.W, run.at.W)
    predictor = jnp.einsum("tji,tjk->ik", run.at.Wp, run.at.Wp)
    decay = 2 * rate / (1 - m) * (sgd.eta_s * encoder - sgd.eta_p * predictor)
    lag = 2 * rate * m**2 / (1 - m) * ledger.moment
    expected = _balance(run.start, sgd) - decay + ledger.source + lag
    return apart(_balance(run.end, sgd), expected)


def _unexplained(problem, **kind):
    """The difference between the final balance and the one that `theorems` predicts."""
    sgd = _sgd(problem, **kind)
    run = _trained(problem, sgd, 0.02 * (1 - 0.5 * jnp.arange(STEPS) / STEPS))
    ledger = _ledger(run, sgd)
    return apart(_balance(run.end, sgd), ledger.balance + ledger.rounded)


def _sgd(problem, **kind):
    """SGD with momentum 0.9, and with different decays of encoder and predictor."""
    params = problem.params
    eta_s, eta_p = 0.1 * params.eta_s, 0.3 * params.eta_p
    return SGD(alpha_p=params.alpha_p, momentum=0.9, eta_s=eta_s, eta_p=eta_p, **kind)


class Run(NamedTuple):
    """A training run. All leaves but those of `end` have a leading axis of steps."""

    at: Layers  # before the step
    momenta: Layers  # V' of the step
    steps: Layers  # a U, which the step subtracts
    rate: Float[Array, " steps"]  # a
    end: Layers  # after the last step

    @property
    def start(self) -> Layers:
        return jax.tree.map(lambda x: x[0], self.at)


def _ledger(run, sgd):
    def enter(ledger, step):
        at, momenta, steps, rate = step
        return theorems.after_step(ledger, at, momenta, steps, rate, sgd), None

    start = theorems.opened(run.start, sgd)
    return jax.lax.scan(enter, start, (run.at, run.momenta, run.steps, run.rate))[0]


@eqx.filter_jit
def _trained(problem, sgd, rates):
    start = _random_network(problem)
    per_leaf = lambda of_W, of_Wp: Network(of_W, of_W, of_Wp, of_Wp, of_Wp)
    factors, decays = per_leaf(jnp.ones(()), sgd.alpha_p), per_leaf(sgd.eta_s, sgd.eta_p)

    def advance(state, step):
        net, target, V = state
        key, rate = step
        g = jax.grad(_loss)(net, target, _views(problem, key))
        U, V = _direction(g, V, net, decays, sgd)
        steps = jax.tree.map(lambda u, r: rate * r * u, U, factors)
        new = jax.tree.map(jnp.subtract, net, steps)
        target = jax.tree.map(lambda a, w: KEEP * a + (1 - KEEP) * w, target, new)
        return (new, target, V), (net.layers, V.layers, steps.layers)

    state = start, start, jax.tree.map(jnp.zeros_like, start)
    keys = jr.split(problem.key, len(rates))
    (end, _, _), path = jax.lax.scan(advance, state, (keys, rates))
    return Run(*path, rate=rates, end=end.layers)


def _direction(g, V, net, decays, sgd):
    """The direction U and the new momentum V' of `theorems.SGD`, for each leaf."""
    decay = jax.tree.map(jnp.multiply, decays, net)
    add = lambda x, y, factor=1.0: jax.tree.map(lambda a, b: a + factor * b, x, y)
    if not sgd.decoupled:
        g = add(g, decay)
    V = add(g, V, sgd.momentum)
    U = add(g, V, sgd.momentum) if sgd.nesterov else V
    return (add(U, decay) if sgd.decoupled else U), V


def _random_network(problem):
    d, n1 = problem.y.W.shape
    keys = iter(jr.split(jr.fold_in(problem.key, 1), 5))
    matrix = lambda rows, columns: jr.normal(next(keys), (rows, columns)) / jnp.sqrt(columns)
    return Network(
        encoder=matrix(2 * d, n1 + 1),
        W=matrix(d, 2 * d + 1),
        Wp=matrix(2 * d, d),
        bias=matrix(2 * d, 1)[:, 0],
        last=matrix(d, 2 * d + 1),
    )


def _views(problem, key):
    """Two random views of each example of a random batch, of shape (2, BATCH, n1)."""
    examples, views, _ = problem.views.shape
    which, pairs = jr.split(key)
    batch = jr.randint(which, (1, BATCH), 0, examples)
    return problem.views[batch, jr.randint(pairs, (2, BATCH), 0, views)]


def _outputs(net, x):
    return _with_one(jax.nn.relu(_with_one(x) @ net.encoder.T)) @ net.W.T


def _prediction(net, f):
    q = f @ net.Wp.T + net.bias[None]
    q = (q - jnp.mean(q, 0, keepdims=True)) / jnp.sqrt(jnp.var(q, 0, keepdims=True) + 1e-5)
    return _with_one(jax.nn.relu(q)) @ net.last.T


def _with_one(x):
    return jnp.concatenate([x, jnp.ones((len(x), 1))], axis=1)


def _loss(net, target, views):
    """Minus the mean cosine of prediction and target, summed over both directions."""
    first, second = (_prediction(net, _outputs(net, x)) for x in views)
    to_first, to_second = (_outputs(target, x) for x in views)
    mean = lambda p, a: jnp.mean(jax.vmap(random_problems.cosine)(p, a))
    return mean(first, to_second) + mean(second, to_first)


def _balance(at, sgd):
    return theorems.balance(at.W, at.Wp, sgd.alpha_p)
