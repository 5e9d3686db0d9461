"""The CT scanner of a phantom: its beam, the slopes that are pinned, and how the agent lies in tissue."""

from __future__ import annotations

from pydantic import Field

from imgtheranostics.phantom.model import Model, Name, NotNegative, Number, Positive
from imgtheranostics.phantom.series import AxisKind

Triple = tuple[Number, Number, Number]


class Pools(Model):
    """How an injected suspension lies in a region from level 1 on: in pools of its full strength.

    Attributes
    ----------
    region
        Its shape is one, or several, of the solid shapes.
    strength_mg_ml
        Concentration of the suspension. The mean over the region says how much volume the pools take.
    size_mm
        Correlation length of the pools along x, y and z; unequal ones make streaks.
    margin_mm
        Distance that the pools keep from the region's surface.
    """

    region: Name
    strength_mg_ml: Positive
    size_mm: tuple[Positive, Positive, Positive]
    margin_mm: NotNegative = 0.0


class Swelling(Model):
    """A region grows by the injected volume, so that its mean concentration falls and its mass stays.

    Attributes
    ----------
    region
        Grows about its centre.
    state
        Value of the state axis at which it does.
    """

    region: Name
    state: Name


class Deformation(Model):
    """How the subject lies differently at later fractions, from level 2 on; the field is known.

    What a later scan shows at x lay at ``x - shift - v(x - shift - c)`` in the first one, c being the centre
    of the region and v a local part that falls off as a Gaussian. Both grow in equal steps over the
    fractions, from nothing at the first to the stated size at the last.

    Attributes
    ----------
    region
        In the middle of the local part.
    shift_mm
        Of the whole subject.
    bend_mm
        Displacement of the middle by the local part.
    strain
        Relative stretch along x, y and z in the middle; negative where tissue shrinks. The agent is carried
        along with its mass.
    reach_mm
        Standard deviation of the local part.
    """

    region: Name
    shift_mm: Triple = (0.0, 0.0, 0.0)
    bend_mm: Triple = (0.0, 0.0, 0.0)
    strain: Triple = (0.0, 0.0, 0.0)
    reach_mm: Positive


class CtScanner(Model):
    """X-ray computed tomography.

    Attributes
    ----------
    kvp
        Tube voltage, where no axis of the phantom holds it.
    slope_hu
        Enhancement per mg/mL of each material, per tube voltage, as a calibration at `water_cm` gives it.
        With several materials, a region holds that of its agent's record.
    displacement
        Particles of a known density take the place of water.
    filtration_mm_al, water_cm
        The beam for which the slopes hold: its filter, and the water that has hardened it.
    beam_hardening
        From level 2 on, see `imgtheranostics.phantom.ct_hardening`.
    energy_bins_kev
        Edges of the bins of a photon-counting detector, which makes one more image of each case.
    counting_kvp
        Tube voltage of that image; by default the highest.
    before, before_per
        Whether there is a scan without agent, and the axes beside the tube voltage of which each value has
        one of its own.
    noise_fwhm_mm
        Resolution of the kernel that the noise went through; by default that of the image, or a voxel and
        a half where none is stated.
    shift_mm
        Where the subject lies in these images from level 2 on, against the other modalities.
    """

    kvp: Positive | None = None
    slope_hu: dict[str, dict[str, Positive]] = Field(default_factory=dict)
    displacement: bool = True
    filtration_mm_al: NotNegative = 7.0
    water_cm: Positive = 20.0
    beam_hardening: bool = False
    energy_bins_kev: tuple[Positive, ...] = ()
    counting_kvp: Positive | None = None
    before: bool = False
    before_per: tuple[AxisKind, ...] = ()
    kernel: str = "soft"
    noise_fwhm_mm: Positive | None = None
    shift_mm: Triple = (0.0, 0.0, 0.0)
    pools: Pools | None = None
    swelling: Swelling | None = None
    deformation: Deformation | None = None
