"""Errors in a user's input, each reported in one line, and checks that raise them."""

import math


class UsageError(ValueError):
    """An error in the user's input, in one line: the value, what is allowed, and why."""


def number(
    flag: str,
    value: float | int,
    least: float | int = -math.inf,
    most: float | int = math.inf,
    *,
    above: bool = False,
    why: str = "",
) -> None:
    """Raise `UsageError` unless `value` is finite and least <= value <= most.

    With `above`, least < value is required. The message ends with `why`.
    """
    low_enough = value > least if above else value >= least
    if math.isfinite(value) and low_enough and value <= most:
        return
    bounds = [f"{'above' if above else 'at least'} {least:g}"] * math.isfinite(least)
    bounds += [f"at most {most:g}"] * math.isfinite(most)
    allowed = " and ".join(["finite", *bounds])
    raise UsageError(f"{flag} {value:g}: must be {allowed}" + f" ({why})" * bool(why))


def interval(flag: str, ends: tuple[float | int, float | int]) -> None:
    """Raise `UsageError` unless the interval can be drawn.

    Both ends must lie within +-1e6, the lower end first, at least 1e-9 apart, and apart by at
    least 1e-6 of the larger magnitude.
    """
    for end in ends:
        number(flag, end, -1e6, 1e6)
    low, high = ends
    if not low < high:
        raise UsageError(f"{flag} {low:g} {high:g}: the lower end must come first")
    if high - low < max(1e-9, 1e-6 * max(abs(low), abs(high))):
        raise UsageError(f"{flag} {low:g} {high:g}: too narrow to draw")
