"""Maps of the CT phantoms as a user makes them: which scan has no agent, and what the scanner's slope is.

What a user would know and no header says is taken from the phantom file: the slope of a calibration with
vials, and the water that it was made behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgtheranostics.phantom.ct_scans import BEFORE, BINS, CtScan, scanner_of, scans_of
from imgtheranostics.phantom.ct_tissue import material_of, materials_of, shown_slope_hu
from imgtheranostics.phantom.physics import parts_of
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.validation.mri_maps import api
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from imgtheranostics.ct import Slope
    from imgtheranostics.registration import Transform
    from imgtheranostics.validation.session import Session

Map = Volume | Estimate

CALIBRATION_ERROR = 0.01
"""Relative standard error of a slope that was calibrated with vials."""
LIGHT = ("I", "Fe", "Gd")
"""Materials whose K-edge lies below the energies of a clinical beam."""
ANATOMY = ("MRI", "CEST")
"""Modalities that show where the subject lies, for images of another scanner."""


def quantified(session: Session, volume: int, quantity: str) -> Map:
    """The map of a quantity from one main scan of a CT phantom, by the public API.

    Raises
    ------
    MethodMissing
        If the package has no method for it yet.
    ImgTheranosticsError
        If the method refuses the images.
    """
    if quantity == "attenuation":
        return session.image(volume)
    if quantity == "delta_attenuation":
        return enhancement(session, volume)
    if quantity == "concentration":
        heavy = [name for name in materials_of(session.phantom.spec) if name not in LIGHT]
        if len(heavy) > 1:
            return separated(session, heavy)[heavy[0]]
        return concentration(session, volume)
    raise MethodMissing(f"method for {quantity}")


def scan_of(session: Session, volume: int) -> CtScan:
    """The scan of a volume."""
    return scans_of(session.phantom.spec)[volume - _first(session)]


def before_of(session: Session, volume: int) -> int:
    """The scan without agent that belongs to a main scan.

    Raises
    ------
    MethodMissing
        If the phantom has none.
    """
    case = scan_of(session, volume).case
    for number, scan in enumerate(scans_of(session.phantom.spec)):
        if scan.role == BEFORE and all(case.get(kind) == value for kind, value in scan.case.items()):
            return number + _first(session)
    raise MethodMissing("scan without agent in the phantom")


def binned_of(session: Session) -> int:
    """The scan in energy bins.

    Raises
    ------
    MethodMissing
        If the phantom has none.
    """
    for number, scan in enumerate(scans_of(session.phantom.spec)):
        if scan.role == BINS:
            return number + _first(session)
    raise MethodMissing("scan in energy bins in the phantom")


def slope_of(session: Session, material: str, scan: CtScan) -> Slope:
    """What a calibration with vials gave on this scanner, with the water that the material displaces."""
    spec = session.phantom.spec
    scanner = scanner_of(spec)
    value = shown_slope_hu(spec, material, scan)
    found: Slope = api("Slope", "ct")(
        value,
        CALIBRATION_ERROR * value,
        material,
        kvp=scan.kvp,
        filter=f"{scanner.filtration_mm_al:g} mm Al",
        water_cm=scanner.water_cm,
    )
    return found


def agent_of(session: Session, region: str | None = None) -> str:
    """Material of the agent of a region, or of the only one that the phantom has."""
    spec = session.phantom.spec
    return materials_of(spec)[0] if region is None else material_of(spec, region)


def enhancement(session: Session, volume: int) -> Map:
    """Change of attenuation against the scan without agent, in the place of the other modality if any."""
    pre, post = session.image(before_of(session, volume)), session.image(volume)
    return placed(session, volume, api("enhancement", "ct")(pre, post))


def concentration(session: Session, volume: int) -> Map:
    """Concentration of the phantom's only agent, in the place of the other modality if any."""
    pre, post = session.image(before_of(session, volume)), session.image(volume)
    material = agent_of(session)
    found = api("concentration", "ct")(
        api("enhancement", "ct")(pre, post),
        material=material,
        slope=slope_of(session, material, scan_of(session, volume)),
    )
    return placed(session, volume, found)


def placed(session: Session, volume: int, found: Estimate) -> Map:
    """A map of CT on the images of the modality that shows where the regions lie."""
    transform = alignment(session, volume)
    if transform is None:
        return found
    reference = anatomy(session)
    assert reference is not None  # noqa: S101
    moved: Volume = api("resample", "registration")(found.value, transform, like=reference)
    return moved


def alignment(session: Session, volume: int) -> Transform | None:
    """How the subject lies in a CT image against the other modality; None where both are one scan."""
    phantom = session.phantom
    reference = anatomy(session)
    if reference is None or phantom.level < 2 or not any(scanner_of(phantom.spec).shift_mm):
        return None

    def make() -> Any:
        return api("register", "registration")(reference, session.image(volume), model="rigid").transform

    found: Transform = session.kept(("alignment", volume), make)
    return found


def anatomy(session: Session) -> Volume | None:
    """First sample of the first image of the modality that shows anatomy beside CT, if there is one."""
    for part in parts_of(session.phantom.spec):
        if part.physics.modality in ANATOMY:

            def make(first: int = part.first) -> Volume:
                image = session.image(first)
                return image.frame(0) if image.data.ndim > 3 else image

            made: Volume = session.kept(("anatomy", part.first), make)
            return made
    return None


def separated(session: Session, materials: list[str]) -> dict[str, Estimate]:
    """Concentration of each of some materials from the scans at all tube voltages of one case.

    Raises
    ------
    IllConditioned
        If the package refuses to tell them apart.
    """

    def make() -> dict[str, Estimate]:
        first = _first(session)
        scans = [
            (first + n, scan) for n, scan in enumerate(scans_of(session.phantom.spec)) if scan.role == ""
        ]
        found: dict[str, Estimate] = api("decompose", "ct")(
            [session.image(number) for number, _ in scans],
            kvp=[scan.kvp for _, scan in scans],
            materials=materials,
            slopes={name: [slope_of(session, name, scan) for _, scan in scans] for name in materials},
        )
        return found

    made: dict[str, Estimate] = session.kept(("separated", *materials), make)
    return made


def binned(session: Session) -> dict[str, Estimate]:
    """Concentration of each of the phantom's materials from its scan in energy bins, by prior slopes.

    Voxels may be negative: means over regions are taken of them, and where noise is cut off at zero for three
    materials that are not there, the fourth pays for it with 0.2 to 0.3 mg/mL at 10 HU of noise.
    """

    def make() -> dict[str, Estimate]:
        spec = session.phantom.spec
        scanner, volume = scanner_of(spec), binned_of(session)
        found: dict[str, Estimate] = api("decompose", "ct")(
            session.image(volume),
            kvp=scan_of(session, volume).kvp,
            materials=list(materials_of(spec)),
            method="k_edge",
            edges_kev=scanner.energy_bins_kev,
            filtration_mm_al=scanner.filtration_mm_al,
            water_cm=scanner.water_cm,
            non_negative=False,
        )
        return found

    made: dict[str, Estimate] = session.kept(("binned",), make)
    return made


def _first(session: Session) -> int:
    return next(part.first for part in parts_of(session.phantom.spec) if part.physics.modality == "CT")
