"""Codes of quantities and units in derived DICOM objects: standard ones where there are, else our own.

References
----------
.. [1] DICOM PS3.16: CID 7180 and CID 218 (quantities), CID 85 (units of SUV), CID 7464 (modifiers).
.. [2] The Unified Code for Units of Measure, https://ucum.org.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgtheranostics.units import QUANTITIES, UNITS

if TYPE_CHECKING:
    from pydicom import Dataset

SCHEME = "99IMGTHER"
"""Coding scheme of what DICOM has no code for; its codes are the names of this package."""

_LONGEST_CODE = 16
_LONGEST_MEANING = 64


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept."""

    value: str
    scheme: str
    meaning: str

    def item(self) -> Dataset:
        """The item of a code sequence."""
        from pydicom import Dataset

        found = Dataset()
        if len(self.value) > _LONGEST_CODE:
            found.LongCodeValue = self.value
        else:
            found.CodeValue = self.value
        found.CodingSchemeDesignator = self.scheme
        found.CodeMeaning = self.meaning[:_LONGEST_MEANING]
        return found

    def concept(self) -> Any:
        """The same for highdicom."""
        from highdicom.sr import CodedConcept

        return CodedConcept(self.value, self.scheme, self.meaning[:_LONGEST_MEANING])


QUANTITY = Code("246205007", "SCT", "Quantity")
DERIVATION = Code("121401", "DCM", "Derivation")
OWN_QUANTITY = Code("quantity", SCHEME, "Quantity as imgtheranostics names it")
STANDARD_ERROR = Code("standard_error", SCHEME, "Standard error")
MEAN = Code("373098007", "SCT", "Mean")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
MEDIAN = Code("373099004", "SCT", "Median")
MINIMUM = Code("255605001", "SCT", "Minimum")
MAXIMUM = Code("56851009", "SCT", "Maximum")
FIFTH_PERCENTILE = Code("p05", SCHEME, "5th percentile of the voxels")
LAST_PERCENTILE = Code("p95", SCHEME, "95th percentile of the voxels")
UPPER_UNCERTAINTY = Code("371886008", "SCT", "+, range of upper measurement uncertainty")
LOWER_UNCERTAINTY = Code("371885007", "SCT", "-, range of lower measurement uncertainty")
VOLUME = Code("118565006", "SCT", "Volume")
VOXELS = Code("n_voxels", SCHEME, "Number of voxels")
VALID_VOXELS = Code("n_valid", SCHEME, "Number of voxels with a value")
NOT_A_NUMBER = Code("114000", "DCM", "Not a number")

_QUANTITIES = {
    "suv_bw": Code("126401", "DCM", "SUVbw"),
    "suv_lbm_james120": Code("126402", "DCM", "SUVlbm"),
    "suv_lbm_james128": Code("126406", "DCM", "SUVlbm(James128)"),
    "suv_lbm_janmahasatian": Code("126405", "DCM", "SUVlbm(Janma)"),
    "suv_bsa": Code("126403", "DCM", "SUVbsa"),
    "suv_ibw": Code("126404", "DCM", "SUVibw"),
    "attenuation": Code("112031", "DCM", "Attenuation Coefficient"),
    "t1": Code("113063", "DCM", "T1"),
    "t2": Code("113065", "DCM", "T2"),
    "t2star": Code("113064", "DCM", "T2*"),
    "r1": Code("126393", "DCM", "R1"),
    "r2": Code("126394", "DCM", "R2"),
    "r2star": Code("126395", "DCM", "R2*"),
    "ktrans": Code("126312", "DCM", "Ktrans"),
    "ve": Code("126314", "DCM", "ve"),
    "vp": Code("126331", "DCM", "vp"),
    "iauc": Code("126320", "DCM", "IAUC"),
    "absorbed_dose": Code("128513", "DCM", "Absorbed Dose"),
}
"""Quantities that mean exactly what the code of context group 7180 means."""

_UCUM_SPELLINGS = {"[HU]": "[hnsf'U]", "mL/100mL/min": "mL/(100.mL)/min"}
"""Units of the table that UCUM spells otherwise."""

_UNITS_OF_QUANTITIES = {
    "suv_bw": "g/ml{SUVbw}",
    "suv_lbm_james120": "g/ml{SUVlbm}",
    "suv_lbm_james128": "g/ml{SUVlbm(James128)}",
    "suv_lbm_janmahasatian": "g/ml{SUVlbm(Janma)}",
    "suv_bsa": "cm2/ml{SUVbsa}",
    "suv_ibw": "g/ml{SUVibw}",
}
"""Units of context group 85, by which viewers recognise SUV."""


def own_quantity(quantity: str) -> Code:
    """The code of a quantity under the name that this package has for it."""
    return Code(quantity, SCHEME, QUANTITIES[quantity].description)


def quantity_code(quantity: str) -> Code:
    """The standard code of a quantity, or our own where there is none that means the same.

    >>> quantity_code("suv_bw").value, quantity_code("id_per_g").scheme
    ('126401', '99IMGTHER')
    """
    return _QUANTITIES.get(quantity) or own_quantity(quantity)


def quantity_of(code: Code) -> str | None:
    """The quantity that a code stands for, or None."""
    if code.scheme == SCHEME:
        return code.value if code.value in QUANTITIES else None
    found = (name for name, known in _QUANTITIES.items() if (known.value, known.scheme) == _key(code))
    return next(found, None)


def unit_code(unit: str, quantity: str = "") -> Code:
    """The UCUM code of a unit; of SUV the annotated one.

    >>> unit_code("[HU]").value, unit_code("g/mL", "suv_bw").value
    ("[hnsf'U]", 'g/ml{SUVbw}')
    """
    value = _UNITS_OF_QUANTITIES.get(quantity) or _UCUM_SPELLINGS.get(unit, unit)
    return Code(value, "UCUM", "no units" if value == "1" else value)


def unit_of(code: Code, quantity: str) -> str | None:
    """The unit of the table that a UCUM code stands for, or None; annotations of SUV are read as such."""
    if code.scheme != "UCUM":
        return None
    if code.value == _UNITS_OF_QUANTITIES.get(quantity):
        return QUANTITIES[quantity].unit
    for unit, spelling in _UCUM_SPELLINGS.items():
        if code.value == spelling:
            return unit
    return code.value if code.value in UNITS else None


def axis_code(name: str) -> Code:
    """The code of an axis of a Volume."""
    return Code(f"axis_{name}", SCHEME, name.replace("_", " "))


def read_code(item: Dataset) -> Code:
    """The code of an item of a code sequence; empty texts where it says nothing."""
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return Code(str(value), str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeMeaning") or ""))


def _key(code: Code) -> tuple[str, str]:
    return code.value, code.scheme
