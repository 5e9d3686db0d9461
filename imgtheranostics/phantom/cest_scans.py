"""The scans of a CEST phantom: a Z-spectrum for each case of its axes, those without tissue, and WASABI."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.phantom.cases import Case, all_axes, printed
from imgtheranostics.phantom.cest_scanner import CestScanner
from imgtheranostics.phantom.mri_scanner import MriScanner
from imgtheranostics.phantom.spec import PhantomSpec

FloatArray = npt.NDArray[np.float64]

WITHOUT_AGENT = frozenset({"pre", "before"})
"""Values of a state axis at which there is no agent yet."""

WITHOUT_TISSUE, WASABI = "without-tissue", "wasabi"
"""Roles of scans beside the main ones."""


@dataclass(frozen=True, eq=False)
class CestScan:
    """One series of saturation offsets.

    Attributes
    ----------
    name : str
        Fit for a file name.
    role : str
        Empty for a main scan, else `WITHOUT_TISSUE` or `WASABI`.
    case : mapping
        Its value on each series axis.
    b1_ut, saturation_s : float
        The block pulse.
    offset_ppm : (n,) ndarray
        NaN where there is no saturation.
    agent, tissue : bool
        Whether the agent is in the subject, and the pools of the tissue.
    """

    name: str
    role: str
    case: Case
    b1_ut: float
    saturation_s: float
    offset_ppm: FloatArray
    agent: bool = True
    tissue: bool = True

    @property
    def references(self) -> tuple[int, ...]:
        """Positions of the images without saturation."""
        return tuple(np.flatnonzero(np.isnan(self.offset_ppm)).tolist())

    @property
    def saturated(self) -> FloatArray:
        """Offsets of the other images, ppm."""
        return self.offset_ppm[~np.isnan(self.offset_ppm)]


def scanner_of(spec: PhantomSpec) -> tuple[MriScanner, CestScanner, float]:
    """The scanner of a CEST phantom, what it saturates with, and its field in T.

    Raises
    ------
    MissingMetadata
        If the file does not describe them.
    """
    scanner = spec.physics_of("CEST").mri
    if scanner is None or scanner.cest is None or scanner.field_t is None:
        raise MissingMetadata(
            f"{spec.slug} does not describe its saturation", where="physics.mri", needed="field_t and cest"
        )
    if scanner.sequence != "saturation":
        raise UnsupportedInput(
            f"{spec.slug} is a CEST phantom of another sequence", found=scanner.sequence, needed="saturation"
        )
    return scanner, scanner.cest, scanner.field_t


def scans_of(spec: PhantomSpec) -> tuple[CestScan, ...]:
    """All scans: the main one for each case, those without tissue, and that of the fields."""
    _, cest, _ = scanner_of(spec)
    main = [_scan(spec, case) for case in cest_cases(spec)]
    bare = [
        _scan(spec, case, role=WITHOUT_TISSUE)
        for case in cest_cases(spec)
        if case.get("saturation_b1") in cest.without_tissue_b1_ut
    ]
    fields = []
    if cest.wasabi is not None:
        offsets = _with_references(cest.wasabi.offsets_ppm, 1)
        pulse_s = cest.wasabi.pulse_ms * 1e-3
        fields = [CestScan(WASABI, WASABI, {}, cest.wasabi.b1_ut, pulse_s, offsets, agent=False)]
    return (*main, *bare, *fields)


def cest_cases(spec: PhantomSpec) -> tuple[Case, ...]:
    """The cases of the main scans; B1 is the last axis, unless the phantom has it elsewhere."""
    _, cest, _ = scanner_of(spec)
    axes: list[tuple[str, tuple[float | str, ...]]] = [
        (axis.kind, axis.values) for axis in all_axes(spec) if axis.layout == "separate"
    ]
    if spec.axis_of("saturation_b1") is None:
        if not cest.b1_ut:
            raise MissingMetadata(
                f"{spec.slug} does not say its saturation power", where="physics.mri.cest", needed="b1_ut"
            )
        axes.append(("saturation_b1", cest.b1_ut))
    kinds = [kind for kind, _ in axes]
    cases = (dict(zip(kinds, values, strict=True)) for values in product(*(values for _, values in axes)))
    return tuple(case for case in cases if case.get("modality", "CEST") == "CEST")


def _scan(spec: PhantomSpec, case: Case, *, role: str = "") -> CestScan:
    _, cest, _ = scanner_of(spec)
    axis = spec.axis_of("offset")
    offsets = cest.offsets_ppm if axis is None else tuple(float(value) for value in axis.values)
    if offsets is None:
        raise MissingMetadata(
            f"{spec.slug} does not say its saturation offsets",
            where="physics.mri.cest",
            needed="offsets_ppm, or an axis of the kind offset",
        )
    words = [role, *(f"{kind.replace('_', '-')}-{printed(value)}" for kind, value in case.items())]
    return CestScan(
        name="_".join(word for word in words if word),
        role=role,
        case=case,
        b1_ut=float(case["saturation_b1"]),
        saturation_s=cest.saturation_s,
        offset_ppm=_with_references(offsets, cest.references),
        agent=case.get("state") not in WITHOUT_AGENT,
        tissue=role != WITHOUT_TISSUE,
    )


def _with_references(offsets: tuple[float, ...], references: int) -> FloatArray:
    """The list with an image without saturation before it, and the others after it."""
    return np.array([np.nan, *offsets, *[np.nan] * (references - 1)])
