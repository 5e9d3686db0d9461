"""Change of relaxation rates between two scans, as maps."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from imgtheranostics.errors import UnsupportedInput, merge_cautions
from imgtheranostics.mri.fitted_maps import calculated_estimate
from imgtheranostics.mri.pairs import estimate_on
from imgtheranostics.mri.preparation import Chosen, Mask, chosen_voxels
from imgtheranostics.mri.rate_entry import relaxation_estimate
from imgtheranostics.mri.relaxation_plan import typed_refusals
from imgtheranostics.volume import Estimate, Volume, make_step

Rate = Literal["r1", "r2", "r2star"]


def delta_r1_map(post: Any, pre: Any, **options: Any) -> Estimate:
    """Change of R1 in 1/s, after minus before; see `delta_rate_map`."""
    return delta_rate_map(post, pre, "r1", **options)


def delta_r2_map(post: Any, pre: Any, **options: Any) -> Estimate:
    """Change of R2 in 1/s, after minus before; see `delta_rate_map`."""
    return delta_rate_map(post, pre, "r2", **options)


def delta_r2star_map(post: Any, pre: Any, **options: Any) -> Estimate:
    """Change of R2* in 1/s, after minus before; see `delta_rate_map`."""
    return delta_rate_map(post, pre, "r2star", **options)


def delta_rate_map(
    post: Volume | Estimate | float,
    pre: Volume | Estimate | float,
    kind: Rate,
    *,
    mask: Mask = None,
    **options: Any,
) -> Estimate:
    """Change of a relaxation rate, after minus before.

    Parameters
    ----------
    post, pre : Volume, Estimate or float
        A series to fit, a map of the time or of the rate, or (for `pre`) one relaxation time in s.
    kind : {"r1", "r2", "r2star"}
    mask : Volume, Regions or array, optional
    **options
        Of the fit, for series; as in `imgtheranostics.mri.relaxation_maps`.

    Returns
    -------
    Estimate
        ``delta_r1``, ``delta_r2`` or ``delta_r2star`` in 1/s; `maps` hold the times after and before.

    Raises
    ------
    GeometryMismatch
        If the two lie on different grids.
    UnitMismatch, MissingMetadata, UnsupportedInput
        As the fits.
    """
    from imgtheranostics.mri.signal_change import rate_change_from_times

    after = relaxation_estimate(post, kind, mask=mask, **options)
    grid = after.value
    before = estimate_on(grid, relaxation_estimate(pre, kind, like=grid, mask=mask, **options))
    if after.axes != before.axes and before.axes:
        raise UnsupportedInput(
            "the two maps have different axes beyond space",
            found=f"{[axis.name for axis in after.axes]} and {[axis.name for axis in before.axes]}",
        )
    within = chosen_voxels(after.value.data[..., np.newaxis], grid, mask=mask)
    with typed_refusals():
        fit = rate_change_from_times(
            before.value.data.astype(np.float64),
            after.value.data.astype(np.float64),
            kind=kind,
            pre_error=before.standard_error.data.astype(np.float64),
            post_error=after.standard_error.data.astype(np.float64),
            mask=within.inside,
        )
    flags = within.merged(np.asarray(after.flags.data | before.flags.data, np.uint16))
    inside = np.isfinite(fit.parameters[f"delta_{kind}_per_s"]) | (flags == 0)
    chosen = Chosen(inside, flags, {})
    return calculated_estimate(
        grid,
        fit,
        f"delta_{kind}_per_s",
        f"delta_{kind}",
        make_step("delta_rate", kind=kind),
        chosen,
        axes=after.axes,
        decisions={"after": dict(after.decisions), "before": dict(before.decisions)},
        warnings=merge_cautions(after.warnings, before.warnings),
        beside={"after": after.value, "before": before.value},
    )
