"""The equations of `fields` in steps of finite size, as optimisers take them.

Read `fields` and `equilibria` first.

A field is the sum of minus a gradient, minus the weight decay and the motion of the target. An
optimiser turns the gradient and the decay into a step of the weights. After this step the EMA
target moves toward the new weights, as in trainers. Learning rates are in the field's units of
time, with alpha_p and the decays of `states.Params`; so the predictor's learning rate is
alpha_p times the encoder's. SGD changes W and not F, so do not pass `fields.moments_asymmetric`
to these functions. Instead, pass `fields.simsiam` with isotropic data and any W with
F = W W^T; the F and Wp that result do not depend on the choice of W. Everything in this module
is derived; the paper treats the flow only.

One file, since optimisers and the stability limits of their steps share one definition of a
step.
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


TARGETS = {Full: lambda y: y.Wa, Modes: lambda y: y.wa}  # the leaf that only the EMA moves
ROUNDING = 1e-12  # eigenvalues below this fraction of the largest count as zero


class SGD(eqx.Module):
    """Gradient descent with momentum m and learning rate a: v' = m v + f, y' = y + a v'.

    f is the field. With `nesterov`, as in PyTorch: y' = y + a (m v' + f). One step corresponds
    to the time a/(1 - m) of the flow.

    Example:

        >>> import lindyn as ld
        >>> sgd = ld.steps.SGD(rate=0.1, momentum=0.9)
        >>> round(float(sgd.time), 6)
        1.0
    """

    rate: Numbers
    momentum: Numbers = 0.0
    nesterov: bool = eqx.field(static=True, default=False)
    decoupled: bool = eqx.field(static=True, default=False)
    """If true, weight decay shrinks the weights separately; else it is part of the gradient."""

    @property
    def time(self) -> Numbers:
        """The time of the flow that corresponds to one step."""
        return self.rate / (1 - self.momentum)

    def begin(self, y: PyTree) -> PyTree:
        """The velocity before the first step, which is zero."""
        return jax.tree.map(jnp.zeros_like, y)

    def move(
        self, f: PyTree, velocity: PyTree, y: PyTree, params: Params
    ) -> tuple[PyTree, PyTree]:
        """The change of the weights y for the field f, and the new velocity."""
        del y, params
        both = lambda x, y: jax.tree.map(lambda x, y: self.momentum * x + y, x, y)
        velocity = both(velocity, f)
        ahead = both(velocity, f) if self.nesterov else velocity
        return jax.tree.map(lambda x: self.rate * x, ahead), velocity


class Adam(eqx.Module):
    """Adam, or AdamW if `decoupled`, with learning rate a: a weight moves by about a per step.

    Adam divides the gradient of each weight by an average of that weight's past gradients. This
    depends on the basis of the weights. So steps of matrices are exact, and steps of modes
    equal those of a network only if the eigenbasis U is the identity. Sources: Kingma and Ba,
    ICLR 2015; Loshchilov and Hutter, ICLR 2019.
    """

    rate: Numbers
    momentum: Numbers = 0.9
    squares: Numbers = 0.999
    eps: Numbers = 1e-8
    decoupled: bool = eqx.field(static=True, default=False)

    @property
    def time(self) -> Numbers:
        """The learning rate, which is the time of a step in the EMA and in decoupled decay."""
        return self.rate

    def begin(self, y: PyTree) -> PyTree:
        """Both averages and the count of steps before the first step, which are zero."""
        zeros = jax.tree.map(jnp.zeros_like, y)
        return zeros, zeros, jnp.zeros(())

    def move(
        self, f: PyTree, memory: PyTree, y: PyTree, params: Params
    ) -> tuple[PyTree, PyTree]:
        """The change of the weights y for the field f, and the new averages and count.

        The predictor's learning rate is alpha_p times `rate`, as for `SGD`.
        """
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
    """LARS: SGD in which the learning rate of each matrix W is multiplied by `trust` |W|/|f|.

    The factor applies before the momentum m. A step turns W by at most about
    `trust` rate/(1 - m), however small the gradient is. Weight decay and gradient share this
    amount, so the steps have no flow as their limit. Source: You et al., 2017 (arXiv
    1708.03888).
    """

    rate: Numbers
    momentum: Numbers = 0.9
    trust: Numbers = 0.001
    decoupled: bool = eqx.field(static=True, default=False)

    @property
    def time(self) -> Numbers:
        """rate/(1 - momentum), the time of a step in the EMA and in decoupled decay."""
        return self.rate / (1 - self.momentum)

    def begin(self, y: PyTree) -> PyTree:
        """The velocity before the first step, which is zero."""
        return jax.tree.map(jnp.zeros_like, y)

    def move(
        self, f: PyTree, velocity: PyTree, y: PyTree, params: Params
    ) -> tuple[PyTree, PyTree]:
        """The change of the matrices y for the field f, and the new velocity."""

        def moved(path, f, v, y):
            ratio = self.trust * jnp.linalg.norm(y) / jnp.linalg.norm(f)
            ratio = jnp.where(jnp.isfinite(ratio) & (ratio > 0), ratio, 1)
            return self.momentum * v + _rate(self, path, params) * ratio * f

        velocity = jax.tree.map_with_path(moved, f, velocity, y)
        return velocity, velocity


Optimiser = SGD | Adam | LARS
Count = int | Int[Array, ""]


class State(eqx.Module):
    """The weights and the state of the optimiser."""

    y: Any  # a state of the field
    memory: PyTree  # the velocity, or the averages and the count of Adam


def begin(y: Any, optimiser: Optimiser) -> State:
    """The state before the first step."""
    return State(y, optimiser.begin(y))


def step(field: Callable, state: State, args: Any, optimiser: Optimiser) -> State:
    """One step of the weights along `field`, and then one step of the target.

    The target moves by wa' = wa + time beta (w' - wa), with `optimiser.time` and the new w'.
    `args` are the arguments of the field: `Params`, or a tuple whose first entry is `Params`.
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
    """The `State` after `count` steps from the initial condition y0.

    Modes may have leading axes; each entry is an independent orbit.

    Example:

        >>> import lindyn as ld
        >>> sgd, params = ld.steps.SGD(rate=0.1, momentum=0.9), ld.Params(eta=0.04)
        >>> state = ld.steps.run(ld.fields.parabola, 0.3, params, sgd, 2)
        >>> round(float(state.y), 6), round(float(state.memory), 6)
        (0.314938, 0.098381)
    """
    advance = lambda _, state: step(field, state, args, optimiser)
    return jax.lax.fori_loop(0, count, advance, begin(y0, optimiser))


def final(field: Callable, y0: Any, args: Any, optimiser: Optimiser, count: Count) -> Any:
    """The weights after `count` steps from the initial condition y0, without optimiser state.

    Example:

        >>> import lindyn as ld
        >>> sgd, params = ld.steps.SGD(rate=0.1, momentum=0.9), ld.Params(eta=0.04)
        >>> round(float(ld.steps.final(ld.fields.parabola, 0.3, params, sgd, 100)), 6)
        0.959194
    """
    return run(field, y0, args, optimiser, count).y


def orbit(field: Callable, y0: Any, args: Any, optimiser: Optimiser, count: int) -> Any:
    """The weights after 0, 1, ..., `count` steps, stacked on a leading axis.

    Example:

        >>> import lindyn as ld
        >>> sgd, params = ld.steps.SGD(rate=0.1, momentum=0.9), ld.Params(eta=0.04)
        >>> ys = ld.steps.orbit(ld.fields.parabola, 0.3, params, sgd, 2)
        >>> [round(float(y), 6) for y in ys]
        [0.3, 0.3051, 0.314938]
    """

    def advance(state, _):
        state = step(field, state, args, optimiser)
        return state, state.y

    _, ys = jax.lax.scan(advance, begin(y0, optimiser), length=count)
    return jax.tree.map(lambda y, ys: jnp.concatenate([jnp.asarray(y)[None], ys]), y0, ys)


def multipliers(
    field: Callable, y: Any, args: Any, optimiser: SGD
) -> Complex[Array, " variables"]:
    """The eigenvalues of the Jacobian of one step at the fixed point y.

    The Jacobian is that of weights and velocities together. The eigenvalues are in descending
    order of modulus. The fixed point is stable iff all moduli are less than 1.
    """
    flat, unflat = ravel_pytree(begin(y, optimiser))
    advance = lambda x: ravel_pytree(step(field, unflat(x), args, optimiser))[0]
    values = jnp.linalg.eigvals(jax.jacfwd(advance)(flat))
    return values[jnp.argsort(-jnp.abs(values))]


def largest_rate(
    speed: Numbers | Complex[Array, "..."], momentum: Numbers, nesterov: bool = False
) -> Float[Array, "..."]:
    """The learning rate below which an eigenvalue -speed of the flow's Jacobian is stable.

    For a step with learning rate a and momentum m, the limit and the polynomial whose roots
    are the eigenvalues of the step are

        heavy ball:  2 (1 + m)/speed                z^2 - (1 + m - a speed) z + m
        Nesterov:    2 (1 + m)/((1 + 2 m) speed)    z^2 - (1 - a speed)((1 + m) z - m)

    For a complex speed x + iy with x > 0, the heavy-ball limit is
    2 (1 + m) x/(x^2 + y^2 (1 + m)^2/(1 - m)^2), and the Nesterov limit is found by bisection.
    Both follow from Cohn's criterion (derived). Weight decay is coupled.

    Example:

        >>> import lindyn as ld
        >>> round(float(ld.steps.largest_rate(4.0, momentum=0.9)), 6)
        0.95
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
    """The learning rate below which the goal p+* is stable, from `largest_rate`.

    The result is NaN if there is no goal, and negative if the goal is unstable in the flow. By
    default Wa = W, and the eigenvalues are those of (11)-(12). With `moving`, the target is a
    slow EMA, which is taken as constant during a step, and the eigenvalues are those of p and w
    alone. At eta = 0 these eigenvalues are twice as large, and the learning rate is half as
    large.

    Example:

        >>> import lindyn as ld
        >>> round(float(ld.steps.stable_rate(ld.Params(eta=0.04), momentum=0.9)), 6)
        4.326749
    """
    if moving:
        jacobian = equilibria.fixed_points(params, fields.modes).jacobian[2, :2, :2]
        speeds = -stability.eigenvalues(jacobian)
    else:
        speeds = -equilibria.fixed_points(params).eigenvalues[2]
    size, rates = jnp.abs(speeds), largest_rate(speeds, momentum, nesterov)
    return jnp.min(jnp.where(size <= ROUNDING * jnp.max(size), jnp.inf, rates))


def decay_limit(params: Params, optimiser: SGD) -> Float[Array, "..."]:
    """The learning rate from which on weight decay alone diverges, whatever the gradient is.

    This is `largest_rate` at a speed of max(eta_s, eta_p). Decoupled decay multiplies the
    weights by 1 - time eta in a step, so the limit is the rate at which `SGD.time` = 2/eta.
    Without weight decay the limit is infinite.
    """
    decay = jnp.maximum(jnp.asarray(params.eta_s), params.eta_p)
    if optimiser.decoupled:
        return 2 * (1 - jnp.asarray(optimiser.momentum)) / decay
    return largest_rate(decay, optimiser.momentum, optimiser.nesterov)


def _rate(optimiser, path, params):
    """The learning rate of one weight, for optimisers that ignore the scale of its gradient."""
    return optimiser.rate * (params.alpha_p if path[0].name in ("Wp", "p") else 1.0)


def _undecayed(args):
    """`args` with both weight decays set to zero."""
    is_params = lambda x: isinstance(x, Params)
    bare = lambda x: (
        eqx.tree_at(lambda x: (x.eta_p, x.eta_s), x, (0.0, 0.0)) if is_params(x) else x
    )
    return jax.tree.map(bare, args, is_leaf=is_params)
