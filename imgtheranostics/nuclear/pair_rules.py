"""Which nuclide may stand for which: one element, or a pair that is in use although it is of two.

An image shows the label. That the carrier moves alike with another label on it is chemistry: atoms of one
element on one chelator are the same to the body, those of two elements are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imgtheranostics.data.nuclides import Nuclide, nuclide
from imgtheranostics.errors import Caution, ImplausibleValue

LABEL_CAVEAT = (
    "an image shows the label, neither the carrier nor its drug: what comes off the carrier counts as carried"
)
"""What holds for every pair."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two nuclides of which one is imaged and the other given, as it is done.

    Attributes
    ----------
    imaged, given : str
    caveat : str
        What a reader of the prediction has to know of this pair.
    """

    imaged: str
    given: str
    caveat: str

    @property
    def same_element(self) -> bool:
        """Whether both are atoms of one element."""
        return _element(self.imaged) == _element(self.given)


_IODINE = "iodide that comes off goes to thyroid and stomach with either nuclide"

PAIRS = (
    Pair(
        "Y-86",
        "Y-90",
        "86Y emits gammas (628, 1077 keV) together with its positrons: unless the reconstruction takes their "
        "floor away, weak uptake is overestimated",
    ),
    Pair(
        "I-124",
        "I-131",
        "124I emits gammas (603 keV) together with its positrons: unless the reconstruction takes their "
        f"floor away, weak uptake is overestimated; {_IODINE}",
    ),
    Pair(
        "I-123",
        "I-131",
        f"123I (13 h) can be imaged for two days of the weeks in which 131I (8 d) decays; {_IODINE}",
    ),
    Pair("Cu-64", "Cu-67", "copper that leaves its chelator goes to the liver with either nuclide"),
    Pair(
        "Ga-68",
        "Lu-177",
        "gallium and lutetium change charge and affinity of what carries them and come off at rates of their "
        "own; 68Ga (68 min) is imaged for hours, 177Lu (6.6 d) irradiates for weeks",
    ),
    Pair(
        "In-111",
        "Y-90",
        "indium and yttrium come off a chelator at rates of their own, and yttrium that did goes to bone, "
        "which images of 111In do not show",
    ),
)
"""Pairs in use; any other two nuclides of one element may be taken as well."""


@dataclass(frozen=True, slots=True)
class Twins:
    """The nuclide that was imaged, the one that is given, and what is taken for granted.

    Attributes
    ----------
    imaged, given : Nuclide
    caveats : tuple of str
    cautions : tuple of Caution
        Not empty where the two are of different elements.
    """

    imaged: Nuclide
    given: Nuclide
    caveats: tuple[str, ...]
    cautions: tuple[Caution, ...]

    @property
    def assumption(self) -> str:
        """The same biology, in one sentence."""
        return (
            f"{self.given.name} is taken to be carried, taken up and cleared as {self.imaged.name} is, with "
            "the same carrier and amount of it: only the physical decay differs"
        )

    def said(self) -> tuple[Caution, ...]:
        """Assumption and caveats as cautions, for tables, maps and reports."""
        caveats = tuple(Caution("label-not-carrier", text) for text in self.caveats[:1])
        own = () if self.cautions else tuple(Caution("pair-caveat", text) for text in self.caveats[1:])
        return (Caution("same-biology", self.assumption), *caveats, *own, *self.cautions)

    def decisions(self) -> dict[str, Any]:
        """What was decided, as plain values."""
        return {
            "rule": "same biology",
            "imaged": self.imaged.name,
            "given": self.given.name,
            "imaged_half_life_s": self.imaged.half_life_s,
            "given_half_life_s": self.given.half_life_s,
            "explanation": self.assumption,
            "caveats": list(self.caveats),
            "source": self.given.source,
        }


def twins(imaged: str, given: str, *, allow_other_element: bool = False) -> Twins:
    """Two nuclides of which the one may stand for the other.

    Nuclides of one element always may. The pairs of two elements in `PAIRS` are in use and may, with the
    caution ``other-element``; any others are refused unless that is confirmed.

    Parameters
    ----------
    imaged, given : str
        In any common spelling, such as ``86Y`` and ``Y-90``.
    allow_other_element : bool
        Confirm two elements.

    Raises
    ------
    UnsupportedInput
        If a nuclide is not known.
    ImplausibleValue
        If they are of different elements, no known pair, and that is not confirmed.

    Examples
    --------
    >>> pair = twins("86Y", "90Y")
    >>> pair.imaged.name, pair.given.name, pair.cautions
    ('Y-86', 'Y-90', ())
    """
    source, target = nuclide(imaged), nuclide(given)
    known = next((pair for pair in PAIRS if (pair.imaged, pair.given) == (source.name, target.name)), None)
    caveats = (LABEL_CAVEAT,) if known is None else (LABEL_CAVEAT, known.caveat)
    if _element(source.name) == _element(target.name):
        return Twins(source, target, caveats, ())
    if known is None and not allow_other_element:
        raise ImplausibleValue(
            "the two nuclides are of different elements, which bodies do not treat alike",
            found=f"{source.name} imaged, {target.name} given",
            needed="two nuclides of one element, or one of "
            + ", ".join(f"{pair.imaged} -> {pair.given}" for pair in PAIRS if not pair.same_element),
            next_step="if that is meant, confirm it: allow_other_element=True or --other-element",
        )
    text = f"{source.name} and {target.name} are not one element, and the label may not move alike"
    if known is not None:
        text += f": {known.caveat}"
    return Twins(source, target, caveats, (Caution("other-element", text),))


def _element(name: str) -> str:
    return name.partition("-")[0]
