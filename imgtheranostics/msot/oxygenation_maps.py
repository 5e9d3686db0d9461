"""Maps of oxygen saturation and total haemoglobin from optoacoustic images, or from what was unmixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, UnitMismatch, UnsupportedInput, merge_cautions
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.estimates import share_cautions
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mapping.voxels import Mask
from imgtheranostics.msot.component_maps import unmix
from imgtheranostics.msot.component_matrix import Components
from imgtheranostics.msot.light_caution import light_cautions
from imgtheranostics.msot.oxygenation import DETECTION_SDS, so2
from imgtheranostics.msot.spectrum_library import spectrum_name
from imgtheranostics.msot.unmixed import Unmixed
from imgtheranostics.msot.unmixing import Method
from imgtheranostics.volume import Estimate, Flag, Volume, make_step

HAEMOGLOBINS = ("HbO2", "Hb")

_PERCENT = 100.0
_THB = {"chromophore_concentration": ("thb", "umol/L"), "component_amplitude": ("relative_thb", "[arb'U]")}


@dataclass(frozen=True, eq=False)
class Oxygenation:
    """Oxygen saturation and total haemoglobin of one scan.

    Attributes
    ----------
    so2 : Estimate
        In %. NaN where total haemoglobin is not above 0 or below three of its standard errors.
    thb : Estimate
        ``thb`` in umol/L, or ``relative_thb`` in ``[arb'U]`` of images in arbitrary units; negative where
        noise makes it so.
    unmixed : Unmixed
        What both are from, with all other components.
    hbo2, hb : str
        Names of the two components.
    """

    so2: Estimate
    thb: Estimate
    unmixed: Unmixed
    hbo2: str
    hb: str

    @property
    def estimates(self) -> tuple[Estimate, Estimate]:
        """Both maps."""
        return self.so2, self.thb

    @property
    def warnings(self) -> tuple[Caution, ...]:
        """Of both maps."""
        return merge_cautions(self.so2.warnings, self.thb.warnings)


def oxygenation(
    given: Volume | Estimate | Unmixed,
    components: Components | None = None,
    *,
    method: Method | None = None,
    noise_sd: float | Sequence[float] | Volume | npt.ArrayLike | None = None,
    mask: Mask = None,
    force: bool = False,
    workers: int | None = None,
) -> Oxygenation:
    """Oxygen saturation and total haemoglobin in every voxel.

    Parameters
    ----------
    given : Volume, Estimate or Unmixed
        An image along ``wavelength``, or its components with both haemoglobins.
    components : sequence of str, or mapping, optional
        What is in the image: HbO2, Hb and whatever else absorbs, such as an injected dye; the two
        haemoglobins by default.
    method : {"ls", "nnls", "wls"}, optional
        By default ``ls``, which keeps negative amounts: saturations of weak voxels and means of regions are
        not biased then.
    noise_sd, mask, force, workers
        As in `imgtheranostics.msot.unmix`.

    Returns
    -------
    Oxygenation

    Raises
    ------
    UnsupportedInput
        If one of the two haemoglobins is missing.
    UnitMismatch
        If the two are not counted in one unit.
    UnknownChoice
        If something is given that belongs to unmixing and `given` was unmixed already.
    ImgTheranosticsError
        As `imgtheranostics.msot.unmix`.
    """
    if isinstance(given, Unmixed):
        vain = {"components": components, "method": method, "noise_sd": noise_sd, "mask": mask}
        ignored = [f"{name}=" for name, value in vain.items() if value is not None]
        ignored += ["force="] if force else []
        if ignored:
            raise UnknownChoice(f"{', '.join(ignored)} has no effect on what was unmixed already")
        return of_components(given, workers=workers)
    wanted = HAEMOGLOBINS if components is None else components
    _named_haemoglobins([str(one) if isinstance(one, str) else getattr(one, "name", "") for one in wanted])
    unmixed = unmix(
        given, wanted, method=method or "ls", noise_sd=noise_sd, mask=mask, force=force, workers=workers
    )
    return of_components(unmixed, workers=workers)


def of_components(unmixed: Unmixed, *, workers: int | None = None) -> Oxygenation:
    """`oxygenation` of what was unmixed already."""
    hbo2, hb = _named_haemoglobins(list(unmixed.estimates))
    parts = unmixed.estimate(hbo2), unmixed.estimate(hb)
    if parts[0].quantity != parts[1].quantity or parts[0].quantity not in _THB:
        raise UnitMismatch(
            "the two haemoglobins are not counted in one unit",
            found=", ".join(f"{part.quantity} [{part.unit}]" for part in parts),
            needed="concentrations of both, or amplitudes of both in arbitrary units",
        )
    fit = _fitted(unmixed, hbo2, hb, workers)
    cautions = light_cautions(unmixed.signal)
    decisions = {
        **unmixed.decision(),
        "so2": {
            "rule": "HbO2 / (HbO2 + Hb), standard error by the delta method with the covariance of unmixing",
            "components": [hbo2, hb],
            "masked_below_standard_errors_of_thb": DETECTION_SDS,
        },
    }
    saturation = _estimate(unmixed, fit, "so2", ("so2", "%"), _PERCENT, fit.flags, cautions, decisions)
    kept = np.where(np.isfinite(fit.parameters["thb"]), 0, fit.flags).astype(np.uint16)
    total = _estimate(unmixed, fit, "thb", _THB[parts[0].quantity], 1.0, kept, cautions, decisions)
    return Oxygenation(saturation, total, unmixed, hbo2, hb)


def _named_haemoglobins(names: Sequence[str]) -> tuple[str, str]:
    """The names that HbO2 and Hb go by."""
    known = {spectrum_name(name): name for name in names}
    missing = [form for form in HAEMOGLOBINS if form.lower() not in known]
    if missing:
        raise UnsupportedInput(
            "oxygen saturation needs both forms of haemoglobin",
            where="components",
            found=", ".join(names) or "none",
            needed=" and ".join(HAEMOGLOBINS),
            next_step=f"unmix with {' and '.join(missing)} among the components",
        )
    return known["hbo2"], known["hb"]


def _fitted(unmixed: Unmixed, hbo2: str, hb: str, workers: int | None) -> Fit:
    """Saturation and total of all voxels, with the flags of the unmixing that concern them."""
    fit = unmixed.fit
    found = so2(
        fit.parameters[hbo2],
        fit.parameters[hb],
        hbo2_se=fit.standard_errors[hbo2],
        hb_se=fit.standard_errors[hb],
        covariance=unmixed.covariance(hbo2, hb),
        workers=workers,
    )
    earlier = fit.flags & ~np.uint16(Flag.AT_BOUND.value)
    outside = (earlier & Flag.MASKED_OUT.value) != 0
    flags = np.where(outside, earlier, found.flags | earlier).astype(np.uint16)
    bits = sum(1 << fit.names.index(name) for name in (hbo2, hb))
    held = ((fit.supports & bits) != 0) & ~outside & np.isfinite(fit.parameters[hbo2])
    flags[held] |= Flag.AT_BOUND.value
    return Fit(
        found.parameters,
        found.standard_errors,
        found.r_squared,
        found.rmse,
        found.iterations,
        flags,
        found.units,
    )


def _estimate(
    unmixed: Unmixed,
    fit: Fit,
    parameter: str,
    quantity: tuple[str, str],
    scale: float,
    flags: npt.NDArray[np.uint16],
    cautions: tuple[Caution, ...],
    decisions: dict[str, Any],
) -> Estimate:
    """One of the two maps. A calibration scales total haemoglobin, and cancels in the saturation."""
    value = fit.parameters[parameter] * scale
    error = fit.standard_errors[parameter] * scale
    shared = 0.0
    if parameter == "thb":
        shared = next(iter(unmixed.estimates.values())).calibration_relative
        error = np.hypot(error, shared * np.abs(value))
    step = make_step("oxygenation", quantity=quantity[0])
    base = next(iter(unmixed.estimates.values())).value.derived(value, *quantity, step)
    base = base.replace(warnings=unmixed.cautions)
    base = base.with_warnings(*cautions, *share_cautions(flags, value, quantity[0]))
    plain = base.replace(warnings=())
    return Estimate(
        base,
        plain.replace(data=error),
        plain.replace(data=flags, quantity="flags", unit="1"),
        shared,
        decisions,
    )
