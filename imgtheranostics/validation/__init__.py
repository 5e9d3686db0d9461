"""The proof: make a phantom, write its files, load and quantify them as a user would, compare with truth."""

from imgtheranostics.validation import (
    camera_methods,
    cest_methods,
    ct_agreement,
    ct_methods,
    dose_methods,
    emission_methods,
    group_methods,
    mri_methods,
    msot_methods,
    partial_volume_methods,
    ultrasound_methods,
)
from imgtheranostics.validation.comparing import Validation, compare_phantoms, validate
from imgtheranostics.validation.methods import METHODS, MethodMissing, method
from imgtheranostics.validation.outcomes import (
    COLUMNS,
    FAIL,
    NOT_IMPLEMENTED,
    NOT_MEASURED,
    PASS,
    REFUSED,
    VERDICTS,
)

__all__ = [
    "COLUMNS",
    "FAIL",
    "METHODS",
    "NOT_IMPLEMENTED",
    "NOT_MEASURED",
    "PASS",
    "REFUSED",
    "VERDICTS",
    "MethodMissing",
    "Validation",
    "camera_methods",
    "cest_methods",
    "compare_phantoms",
    "ct_agreement",
    "ct_methods",
    "dose_methods",
    "emission_methods",
    "group_methods",
    "method",
    "mri_methods",
    "msot_methods",
    "partial_volume_methods",
    "ultrasound_methods",
    "validate",
]
