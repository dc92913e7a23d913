"""Linear stability: the eigenvalues of a Jacobian and the class that they give."""

import functools
import operator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int


KINDS = (
    "stable node",
    "stable focus",
    "saddle",
    "unstable node",
    "unstable focus",
    "centre",
    "line of fixed points",
    "degenerate",
    "none",
)
(
    STABLE_NODE,
    STABLE_FOCUS,
    SADDLE,
    UNSTABLE_NODE,
    UNSTABLE_FOCUS,
    CENTRE,
    LINE,
    DEGENERATE,
    NONE,
) = range(len(KINDS))


def eigenvalues(jacobian: Float[Array, "n n"]) -> Complex[Array, " n"]:
    """Eigenvalues in descending real part; exactly zero where rounding hides the sign.

    In closed form for n = 1 and 2 (on any device, differentiable where they are
    distinct), by LAPACK above.
    """
    real, imag = _spectrum(jacobian)
    return jax.lax.complex(jnp.stack(real), jnp.stack(imag))


def classify(jacobian: Float[Array, "n n"]) -> Int[Array, ""]:
    """The index in `KINDS` of the linear flow dy/dt = J y.

    "line of fixed points": one zero eigenvalue, the others of one sign or not.
    "degenerate": more than one, or a lone one in one dimension: linearisation is silent.
    A Jacobian with NaN is "none", the class of a fixed point that does not exist.
    """
    real, imag = _spectrum(jacobian)
    either = lambda conditions: functools.reduce(operator.or_, conditions)
    zeros = sum((x == 0) & (y == 0) for x, y in zip(real, imag, strict=True))
    up, down = either(x > 0 for x in real), either(x < 0 for x in real)
    turns = either(y != 0 for y in imag)
    return jnp.select(
        [
            either(jnp.isnan(x) for x in real),
            (zeros > 1) | (zeros == len(real)),
            zeros == 1,
            up & down,
            either(x == 0 for x in real),
            down & turns,
            down,
            turns,
        ],
        [
            NONE,
            DEGENERATE,
            LINE,
            SADDLE,
            CENTRE,
            STABLE_FOCUS,
            STABLE_NODE,
            UNSTABLE_FOCUS,
        ],
        UNSTABLE_NODE,
    )


def _spectrum(jacobian):
    """Real and imaginary parts, as lists of scalars: XLA fuses these into one loop."""
    n = len(jacobian)
    if n == 1:
        return [jacobian[0, 0]], [jnp.zeros_like(jacobian[0, 0])]
    if n == 2:
        return _of_two_by_two(*jacobian.ravel())
    values = jnp.linalg.eigvals(jacobian)
    size = 8 * jnp.linalg.norm(jacobian)
    real, imag = _rounded(jnp.real(values), size), _rounded(jnp.imag(values), size)
    order = jnp.argsort(-real)
    return list(real[order]), list(imag[order])


def _of_two_by_two(a, b, c, d):
    """From trace and determinant, each zero where it is less than its own rounding."""
    unit = functools.reduce(jnp.maximum, map(jnp.abs, (a, b, c, d)))  # products may underflow
    a, b, c, d = (x / jnp.where(unit == 0, 1.0, unit) for x in (a, b, c, d))
    trace = _rounded(a + d, 1.0)
    det = _rounded(a * d - b * c, jnp.abs(a * d) + jnp.abs(b * c))
    square = jnp.square((a - d) / 2)
    disc = _rounded(square + b * c, square + jnp.abs(b * c))
    disc = jnp.where((trace == 0) & (det == 0), 0.0, disc)
    root = jnp.sqrt(jnp.where(disc == 0, 1.0, jnp.abs(disc))) * (disc != 0)
    # The eigenvalue of larger modulus first; the other through det, without cancelling.
    far = trace / 2 + jnp.where(trace >= 0, root, -root)
    near = jnp.where(far == 0, far, det / jnp.where(far == 0, 1.0, far))
    turning = disc < 0
    high = jnp.where(turning, trace / 2, jnp.maximum(far, near))
    low = jnp.where(turning, trace / 2, jnp.minimum(far, near))
    swirls = [jnp.where(turning, x, 0.0) for x in (root, -root)]
    return [unit * high, unit * low], [unit * swirl for swirl in swirls]


def _rounded(x, size):
    small = jnp.abs(x) <= 8 * jnp.finfo(x.dtype).eps * size
    return jnp.where(small, jnp.zeros_like(x), x)
