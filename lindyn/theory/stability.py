"""Linear stability: the eigenvalues of a Jacobian, and the class of its fixed point."""

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
    """The eigenvalues in descending order of the real part.

    A real or imaginary part is exactly zero if it is so small that rounding hides its sign.
    For n = 1 and 2 the eigenvalues are in closed form, which runs on any device and is
    differentiable where the eigenvalues are distinct. For larger n, LAPACK computes them.
    """
    real, imag = _spectrum(jacobian)
    return jax.lax.complex(jnp.stack(real), jnp.stack(imag))


def classify(jacobian: Float[Array, "n n"]) -> Int[Array, ""]:
    """The class of the linear flow dy/dt = J y, as an index into `KINDS`.

    - "line of fixed points": one eigenvalue is zero, and there are others, of any sign.
    - "degenerate": more than one eigenvalue is zero, or the only eigenvalue in one dimension.
      The linearisation does not determine the stability.
    - "none": the Jacobian has NaN, as for a fixed point that does not exist.

    Example:

        >>> import jax.numpy as jnp
        >>> from lindyn.theory import stability
        >>> kind = stability.classify(jnp.array([[0.0, 1.0], [-1.0, -1.0]]))
        >>> stability.KINDS[int(kind)]
        'stable focus'
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
    """Real and imaginary parts of the eigenvalues, in descending order of the real part.

    They are lists of scalars, because XLA fuses operations on scalars into one loop.
    """
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
    """The spectrum from trace and determinant, each set to zero below its rounding error."""
    # Scaled to unit size, since products of small entries may underflow.
    unit = functools.reduce(jnp.maximum, map(jnp.abs, (a, b, c, d)))
    a, b, c, d = (x / jnp.where(unit == 0, 1.0, unit) for x in (a, b, c, d))
    trace = _rounded(a + d, 1.0)
    det = _rounded(a * d - b * c, jnp.abs(a * d) + jnp.abs(b * c))
    square = jnp.square((a - d) / 2)
    disc = _rounded(square + b * c, square + jnp.abs(b * c))
    disc = jnp.where((trace == 0) & (det == 0), 0.0, disc)
    root = jnp.sqrt(jnp.where(disc == 0, 1.0, jnp.abs(disc))) * (disc != 0)
    # The eigenvalue of larger modulus is computed first. The other one follows from the
    # determinant, which avoids cancellation.
    far = trace / 2 + jnp.where(trace >= 0, root, -root)
    near = jnp.where(far == 0, far, det / jnp.where(far == 0, 1.0, far))
    turning = disc < 0
    high = jnp.where(turning, trace / 2, jnp.maximum(far, near))
    low = jnp.where(turning, trace / 2, jnp.minimum(far, near))
    swirls = [jnp.where(turning, x, 0.0) for x in (root, -root)]
    return [unit * high, unit * low], [unit * swirl for swirl in swirls]


def _rounded(x, size):
    """`x`, or zero where `x` is within the rounding error of terms of magnitude `size`."""
    small = jnp.abs(x) <= 8 * jnp.finfo(x.dtype).eps * size
    return jnp.where(small, jnp.zeros_like(x), x)
