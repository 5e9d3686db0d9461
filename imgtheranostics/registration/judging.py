"""Whether a registration stands: what is refused, and what a reader should know of the rest."""

from __future__ import annotations

from imgtheranostics.errors import Caution, IllConditioned
from imgtheranostics.registration.quality import Quality
from imgtheranostics.registration.transform import Model

LEAST_OVERLAP = 0.3
"""Share of the smaller image that must be covered by both."""

UNRELATED = 0.99
"""Unexplained share of the standard deviation from which two images have nothing in common."""

_POOR = 0.95
_REPEATED_VOXELS = 1.0
_UNCERTAIN_VOXELS = 0.3


def judged(quality: Quality, model: Model, voxel_mm: float) -> tuple[Caution, ...]:
    """Cautions about a registration that stands.

    Raises
    ------
    IllConditioned
        If it does not stand.
    """
    _refuse(quality, model, voxel_mm)
    cautions = []
    if not quality.converged:
        cautions.append(
            Caution("registration-not-converged", "the deformation was still improving when it was stopped")
        )
    if quality.repeat_mm > _UNCERTAIN_VOXELS * voxel_mm:
        cautions.append(
            Caution(
                "registration-uncertain",
                f"a second search ended {quality.repeat_mm:.2g} mm away; the images support no closer answer",
            )
        )
    if quality.residual > _POOR:
        cautions.append(
            Caution(
                "registration-weak",
                "the registered images explain less than a tenth of each other's variance",
            )
        )
    return tuple(cautions)


def _refuse(quality: Quality, model: Model, voxel_mm: float) -> None:
    if not (quality.residual < UNRELATED):
        raise IllConditioned(
            "the two images share no structure that could be registered",
            found=f"unexplained share of the standard deviation {quality.residual:.3g}",
            needed=f"below {UNRELATED:g}",
            next_step="check that both show the same subject; give a start, or a mask of the body",
        )
    if not quality.converged and model != "bspline":
        raise IllConditioned(
            "the registration did not settle",
            found=f"{quality.iterations} iterations",
            next_step="give a mask, a start transform nearer to the truth, or a model of fewer parameters",
        )
    if not (quality.repeat_mm <= _REPEATED_VOXELS * voxel_mm):
        raise IllConditioned(
            "a second search ended elsewhere: the images do not determine this transform",
            found=f"{quality.repeat_mm:.3g} mm apart",
            needed=f"within {_REPEATED_VOXELS * voxel_mm:.3g} mm",
            next_step="give a mask of what has structure (--register-mask), a start nearer to the truth, or "
            "for round objects model='translation'; images that lie alike already need no registration "
            "(--register none)",
        )


def check_overlap(share: float, least: float, when: str) -> None:
    """Refuse an overlap below the least that is accepted; `when` is before or after.

    Raises
    ------
    IllConditioned
        If it is below.
    """
    if not share >= least:
        raise IllConditioned(
            f"the images overlap too little {when} registration",
            found=f"{100 * share:.3g} % of the smaller one",
            needed=f"at least {100 * least:.3g} %",
            next_step="give start='centre' or a start transform; check that both show one part of the body",
        )
