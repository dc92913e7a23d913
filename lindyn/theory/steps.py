"""The equations of `fields` in steps of finite size, as optimisers take them.

A field is minus the gradient of a loss and minus a weight decay, and it moves the target. An
optimiser turns the first two into a step; the target's average follows the weights after it,
as trainers do. Rates are in the field's units of time, in which alpha_p and the decays are
those of `fields.Params`: the predictor's own rate is alpha_p times the encoder's. SGD steps W
and not F: the steps of `fields.moments_asymmetric` are those of `simsiam` for isotropic data,
whose F = W W^T does not depend on which W gave it. All of it is derived; the paper has the
flow alone.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Complex, Float, Int, PyTree

from lindyn.theory import equilibria, fields, stability
from lindyn.theory.states import Full, Modes, Numbers, Params


TARGETS = {Full: lambda y: y.Wa, Modes: lambda y: y.wa}  # what no gradient moves
ROUNDING = 1e-12  # of the largest eigenvalue: below it one counts as zero


class SGD(eqx.Module):
    """Gradient descent with momentum m at rate a: v' = m v + f, y' = y + a v'.

    Nesterov's, as in PyTorch: y' = y + a (m v' + f). In its flow a step is the time a/(1 - m).
    """

    rate: Numbers
    momentum: Numbers = 0.0
    nesterov: bool = eqx.field(static=True, default=False)
    decoupled: bool = eqx.field(static=True, default=False)
    """Weight decay shrinks the weights beside the step; else it is part of the gradient."""

    @property
    def time(self) -> Numbers:
        return self.rate / (1 - self.momentum)

    def begin(self, y: PyTree) -> PyTree:
        return jax.tree.map(jnp.zeros_like, y)

    def move(
        self, f: PyTree, velocity: PyTree, y: PyTree, params: Params
    ) -> tuple[PyTree, PyTree]:
        """What is added to the weights y, and the new velocity."""
        del y, params
        both = lambda x, y: jax.tree.map(lambda x, y: self.momentum * x + y, x, y)
        velocity = both(velocity, f)
        ahead = both(velocity, f) if self.nesterov else velocity
        return jax.tree.map(lambda x: self.rate * x, ahead), velocity


class Adam(eqx.Module):
    """Adam, or with `decoupled` AdamW, at rate a: each weight moves by about a.

    It divides each weight's gradient by that weight's own past, so that rotated modes are not
    the modes of a rotated network: of matrices it is exact, of modes only where U = I. Kingma
    and Ba, ICLR 2015; Loshchilov and Hutter, ICLR 2019.
    """

    rate: Numbers
    momentum: Numbers = 0.9
    squares: Numbers = 0.999
    eps: Numbers = 1e-8
    decoupled: bool = eqx.field(static=True, default=False)

    @property
    def time(self) -> Numbers:
        return self.rate

    def begin(self, y: PyTree) -> PyTree:
        zeros = jax.tree.map(jnp.zeros_like, y)
        return zeros, zeros, jnp.zeros(())

    def move(
        self, f: PyTree, memory: PyTree, y: PyTree, params: Params
    ) -> tuple[PyTree, PyTree]:
        """As `SGD.move`. The predictor's rate is alpha_p times `rate`, as for SGD."""
        del y
        mean, square, count = memory
        count = count + 1
        average = lambda keep, x, y: keep * x + (1 - keep) * y
        mean = jax.tree.map(lambda m, f: average(self.momentum, m, f), mean, f)
        square = jax.tree.map(lambda v, f: average(self.squares, v, f**2), square, f)

        def moved(path, m, v):
            size = jnp.sqrt(v / (1 - self.squares**count)) + self.eps
            return _rate(self, path, params) * m / (1 - self.momentum**count) / size

        return jax.tree.map_with_path(moved, mean, square), (mean, square, count)


class LARS(eqx.Module):
    """SGD whose rate is that of each matrix: `trust` |W|/|f|, You et al., 2017 (1708.03888).

    Before the momentum. A step turns W by at most about `trust` times the rate over 1 - m,
    however small the gradient is: decay and gradient share that, and there is no flow.
    """

    rate: Numbers
    momentum: Numbers = 0.9
    trust: Numbers = 0.001
    decoupled: bool = eqx.field(static=True, default=False)

    @property
    def time(self) -> Numbers:
        return self.rate / (1 - self.momentum)

    def begin(self, y: PyTree) -> PyTree:
        return jax.tree.map(jnp.zeros_like, y)

    def move(
        self, f: PyTree, velocity: PyTree, y: PyTree, params: Params
    ) -> tuple[PyTree, PyTree]:
        """As `SGD.move`, of matrices."""

        def moved(path, f, v, y):
            ratio = self.trust * jnp.linalg.norm(y) / jnp.linalg.norm(f)
            ratio = jnp.where(jnp.isfinite(ratio) & (ratio > 0), ratio, 1)
            return self.momentum * v + _rate(self, path, params) * ratio * f

        velocity = jax.tree.map_with_path(moved, f, velocity, y)
        return velocity, velocity


Optimiser = SGD | Adam | LARS
Count = int | Int[Array, ""]


class State(eqx.Module):
    """Weights, and what the optimiser remembers."""

    y: Any  # a state of the field
    memory: PyTree


def begin(y: Any, optimiser: Optimiser) -> State:
    return State(y, optimiser.begin(y))


def step(field: Callable, state: State, args: Any, optimiser: Optimiser) -> State:
    """One step down `field`, and then one of the target: wa' = wa + time beta (w' - wa).

    `args` are the field's own, Params or a tuple that begins with them.
    """
    y, params = state.y, args[0] if isinstance(args, tuple) else args
    whole = gradient = field(0.0, y, args)
    if optimiser.decoupled:
        gradient = field(0.0, y, _undecayed(args))
    move, memory = optimiser.move(gradient, state.memory, y, params)
    moved = jax.tree.map(
        lambda y, move, f, g: y + move + optimiser.time * (f - g), y, move, whole, gradient
    )
    target = TARGETS.get(type(y))
    if target is not None:
        moved = eqx.tree_at(target, moved, target(y))
        follows = target(y) + optimiser.time * target(field(0.0, moved, args))
        moved = eqx.tree_at(target, moved, follows)
    return State(moved, memory)


def run(field: Callable, y0: Any, args: Any, optimiser: Optimiser, count: Count) -> State:
    """After `count` steps from y0. Modes may have leading axes: each is its own orbit."""
    advance = lambda _, state: step(field, state, args, optimiser)
    return jax.lax.fori_loop(0, count, advance, begin(y0, optimiser))


def final(field: Callable, y0: Any, args: Any, optimiser: Optimiser, count: Count) -> Any:
    """y of `run`."""
    return run(field, y0, args, optimiser, count).y


def orbit(field: Callable, y0: Any, args: Any, optimiser: Optimiser, count: int) -> Any:
    """y after 0, 1, ..., `count` steps, with a leading axis."""

    def advance(state, _):
        state = step(field, state, args, optimiser)
        return state, state.y

    _, ys = jax.lax.scan(advance, begin(y0, optimiser), length=count)
    return jax.tree.map(lambda y, ys: jnp.concatenate([jnp.asarray(y)[None], ys]), y0, ys)


def multipliers(
    field: Callable, y: Any, args: Any, optimiser: SGD
) -> Complex[Array, " variables"]:
    """Eigenvalues of the step's Jacobian at a fixed point: stable iff all are within 1.

    Of weights and velocities together, by decreasing modulus.
    """
    flat, unflat = ravel_pytree(begin(y, optimiser))
    advance = lambda x: ravel_pytree(step(field, unflat(x), args, optimiser))[0]
    found = jnp.linalg.eigvals(jax.jacfwd(advance)(flat))
    return found[jnp.argsort(-jnp.abs(found))]


def largest_rate(
    speed: Numbers | Complex[Array, "..."], momentum: Numbers, nesterov: bool = False
) -> Float[Array, "..."]:
    """Below this rate a fixed point with the eigenvalue -speed of its Jacobian is stable.

    2 (1 + m)/speed for heavy ball, whose roots are those of z^2 - (1 + m - a speed) z + m;
    over 1 + 2 m for Nesterov's, z^2 - (1 - a speed)((1 + m) z - m). Of a complex speed x + iy
    it is 2 (1 + m) x/(x^2 + y^2 (1 + m)^2/(1 - m)^2), and Nesterov's is bisected for (both by
    Cohn's criterion, derived). x must be positive. Decay is coupled.
    """
    m, speed = jnp.asarray(momentum), jnp.asarray(speed)
    x, y = jnp.real(speed), jnp.imag(speed)
    real = 2 * (1 + m) / ((1 + 2 * m if nesterov else 1) * x)
    if not jnp.iscomplexobj(speed):
        return real
    if not nesterov:
        return real / (1 + (y / x * (1 + m) / (1 - m)) ** 2)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        shrunk = 1 - middle * speed
        size = jnp.abs(shrunk) ** 2
        within = (1 + m) ** 2 * size * (1 - 2 * m * jnp.real(shrunk) + m**2 * size)
        stable = (m**2 * size < 1) & (within < (1 - m**2 * size) ** 2)
        return jnp.where(stable, middle, low), jnp.where(stable, high, middle)

    ends = jax.lax.fori_loop(0, 60, halve, (jnp.zeros_like(real), 2 * real))
    return jnp.where(y == 0, real, ends[0])


def stable_rate(
    params: Params, momentum: Numbers, nesterov: bool = False, moving: bool = False
) -> Float[Array, ""]:
    """`largest_rate` of the goal p+*; NaN without one, negative if the flow leaves it.

    With Wa = W the eigenvalues are those of (11)-(12). A `moving` target that follows slowly
    stands still for a step, and they are those of p and w alone: at eta = 0 they are twice as
    fast, and the largest rate is half.
    """
    if moving:
        jacobian = equilibria.fixed_points(params, fields.modes).jacobian[2, :2, :2]
        speeds = -stability.eigenvalues(jacobian)
    else:
        speeds = -equilibria.fixed_points(params).eigenvalues[2]
    size, rates = jnp.abs(speeds), largest_rate(speeds, momentum, nesterov)
    return jnp.min(jnp.where(size <= ROUNDING * jnp.max(size), jnp.inf, rates))


def decay_limit(params: Params, optimiser: SGD) -> Float[Array, "..."]:
    """From this rate on weight decay alone overshoots and diverges, whatever the gradient.

    `largest_rate` at the speed eta_s or eta_p, the larger; if decay is decoupled, a step
    multiplies weights by 1 - time eta, and the limit is a time of 2/eta. Infinite without.
    """
    decay = jnp.maximum(jnp.asarray(params.eta_s), params.eta_p)
    if optimiser.decoupled:
        return 2 * (1 - jnp.asarray(optimiser.momentum)) / decay
    return largest_rate(decay, optimiser.momentum, optimiser.nesterov)


def _rate(optimiser, path, params):
    """Of one weight, where its gradient's scale does not count."""
    return optimiser.rate * (params.alpha_p if path[0].name in ("Wp", "p") else 1.0)


def _undecayed(args):
    """The same without weight decay."""
    is_params = lambda x: isinstance(x, Params)
    bare = lambda x: (
        eqx.tree_at(lambda x: (x.eta_p, x.eta_s), x, (0.0, 0.0)) if is_params(x) else x
    )
    return jax.tree.map(bare, args, is_leaf=is_params)
