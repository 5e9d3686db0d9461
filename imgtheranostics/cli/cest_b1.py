"""Options of ``cest contrast`` for scans at several B1: the contrast at the nominal one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cest.methods import B1_METHODS
from imgtheranostics.cli import options

if TYPE_CHECKING:
    from imgtheranostics.volume import Estimate, Volume


@dataclass(frozen=True)
class SeveralB1:
    """Scans at several B1 and a map of the transmit field: the contrast as it would be at the nominal B1."""

    nominal_b1_ut: Annotated[
        float | None,
        typer.Option(
            "--nominal-b1-ut",
            min=0.0,
            help="Correct for the transmit field (--b1 or --wasabi) to this B1, from a file with several B1 "
            "or further scans (--at-other-b1).",
        ),
    ] = None
    at_other_b1: Annotated[
        list[Path] | None,
        typer.Option("--at-other-b1", help="The same scan at another B1; may be given again."),
    ] = None
    b1_ut: Annotated[
        list[float] | None,
        typer.Option("--b1-ut", min=0.0, help="B1 of each scan in order, where the files do not state it."),
    ] = None
    b1_method: Annotated[
        str,
        typer.Option(
            "--b1-method", click_type=options.choice(B1_METHODS), help="Through the values at several B1."
        ),
    ] = "spline"
    zero_anchor: Annotated[
        bool, typer.Option("--zero-anchor", help="No contrast at no B1, as one more value.")
    ] = False
    extrapolate_b1: Annotated[
        bool, typer.Option("--extrapolate-b1", help="Values beyond the B1 that were measured too.")
    ] = False

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        return list(self.at_other_b1 or [])

    def check_unused(self) -> None:
        """Refuse what belongs to ``--nominal-b1-ut`` without it."""
        for one in fields(self):
            if one.name != "nominal_b1_ut" and getattr(self, one.name) != one.default:
                raise typer.BadParameter(
                    "belongs to --nominal-b1-ut, which is not given",
                    param_hint=f"--{one.name.replace('_', '-')}",
                )

    def contrast(
        self,
        scans: list[Volume],
        keywords: Mapping[str, Any],
        *,
        kind: str,
        at_ppm: float | list[float] | None,
        t1: Volume | Estimate | float | None,
    ) -> Estimate:
        """The contrast at the nominal B1."""
        from imgtheranostics.cest.b1_maps import contrast_at_b1

        return contrast_at_b1(
            scans if len(scans) > 1 else scans[0],
            kind=kind,
            at_ppm=at_ppm,
            nominal_b1_ut=float(self.nominal_b1_ut or 0.0),
            b1_ut=self.b1_ut,
            t1=t1,
            method=self.b1_method,  # type: ignore[arg-type]
            zero_anchor=self.zero_anchor,
            extrapolate=self.extrapolate_b1,
            **keywords,
        )
