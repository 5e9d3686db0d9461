"""Two scans of one subject whose numbers can be compared: one scale, one protocol, one field."""

from __future__ import annotations

import math

from imgtheranostics.agents.relaxivity import SAME_FIELD
from imgtheranostics.errors import UnitMismatch
from imgtheranostics.mapping.mr_signal import mr_record
from imgtheranostics.mri.protocol import FIELDS
from imgtheranostics.volume import Volume

_SAME_PROTOCOL = 0.01


def check_comparable(first: Volume, second: Volume) -> None:
    """Refuse two signals that cannot be compared: other times or angles, or display values.

    Raises
    ------
    UnitMismatch
    """
    one, other = mr_record(first), mr_record(second)
    if "philips_display" in (one.value_scale, other.value_scale):
        raise UnitMismatch(
            "display values of two scans are on scales of their own",
            where="Scale Slope (2005,100E)",
            found="a series without scale slope",
            needed="floating-point values of both scans",
            next_step="export the private elements too, or compare relaxation times instead of signals",
        )
    for name, field in FIELDS.items():
        before, after = getattr(one, name), getattr(other, name)
        if before is None or after is None or math.isclose(before, after, rel_tol=_SAME_PROTOCOL):
            continue
        raise UnitMismatch(
            f"the two scans were acquired with another {field.words}, so their signals cannot be compared",
            where=field.tag,
            found=f"{before:g} and {after:g}",
            needed="one protocol before and after",
            next_step="compare relaxation times instead of signals",
        )


def check_same_field(first: Volume, second: Volume) -> None:
    """Refuse relaxation rates of two field strengths: they differ without any agent.

    Raises
    ------
    UnitMismatch
    """
    one, other = mr_record(first).field_strength_t, mr_record(second).field_strength_t
    if one is None or other is None or math.isclose(one, other, rel_tol=SAME_FIELD):
        return
    raise UnitMismatch(
        "the two scans were acquired at different field strengths, which change the rates by themselves",
        where=FIELDS["field_strength_t"].tag,
        found=f"{one:g} and {other:g} T",
        needed="one field strength before and after",
        next_step="give scans of one scanner, or the time before the agent at this field as a number",
    )
