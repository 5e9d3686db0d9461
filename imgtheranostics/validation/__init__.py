"""The proof: make a phantom, write its files, load and quantify them as a user would, compare with truth."""

from imgtheranostics.validation.comparing import COLUMNS, FAIL, NOT_IMPLEMENTED, PASS, validate
from imgtheranostics.validation.methods import METHODS, MethodMissing, method

__all__ = [
    "COLUMNS",
    "FAIL",
    "METHODS",
    "NOT_IMPLEMENTED",
    "PASS",
    "MethodMissing",
    "method",
    "validate",
]
