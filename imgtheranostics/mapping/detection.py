"""What counts as detected: how far above a blank a reading must lie, and how often a blank does."""

from __future__ import annotations

import math

DETECTION_SDS = 3.3
QUANTIFICATION_SDS = 10.0
"""Standard deviations of the blank at the limits of detection and of quantification (ICH Q2, unconfirmed)."""


def false_positive_rate(n_blanks: int | None = None, *, sds: float = DETECTION_SDS) -> float:
    """How often a blank reading lies above `sds` standard deviations of the blank.

    Of normal noise about 0, one-sided: with an SD that is known, 4.8e-4 at 3.3; with the SD of n blanks, the
    tail of Student's t with n - 1 degrees of freedom, 1.5e-2 for five and 1.9e-3 for twenty.

    Parameters
    ----------
    n_blanks : int, optional
        Independent blanks that the SD is from; None when it is known.
    sds : float

    Returns
    -------
    float
        Share of readings, 0 to 1.

    Raises
    ------
    ValueError
        If there are fewer than two blanks.

    Examples
    --------
    >>> round(false_positive_rate(), 6)
    0.000483
    """
    if n_blanks is None:
        return 0.5 * math.erfc(sds / math.sqrt(2.0))
    if n_blanks < 2:
        raise ValueError(f"a standard deviation needs at least two blanks, got {n_blanks}")
    from scipy.special import stdtr

    return float(stdtr(n_blanks - 1, -sds))
