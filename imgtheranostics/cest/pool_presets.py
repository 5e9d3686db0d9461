"""Published sets of pools, each with its source and what in it is not published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from imgtheranostics.cest.pool_design import Pool, Range, start_cautions
from imgtheranostics.errors import Caution, ImplausibleValue

_FIXED: Range = (1.0, 1.0, 1.0)
_EVAL = "CEST_EVAL, evaluation of 7 T Z-spectra by five Lorentzians"
_MPLF = "CEST-MPLF, multi-pool Lorentzian fit at 3 T"
_LIBRARY = "pulseq-cest-library, 4-pool evaluation at 3 T"


@dataclass(frozen=True, slots=True)
class PresetRecord:
    """Where a set of pools is from.

    Attributes
    ----------
    name : str
    field_t : float or None
        Field that it was made for.
    baseline : (float, float, float)
        Signal far from all lines that belongs to the set; give it to `fit`.
    source : str
        Where starts and bounds were published.
    provenance : {"published", "computed", "unconfirmed"}
        Of the starts and bounds that the source states.
    note : str
        What is not from the source.
    """

    name: str
    field_t: float | None
    baseline: Range
    source: str
    provenance: str
    note: str


class Preset(tuple[Pool, ...]):
    """A tuple of `Pool` that knows where it is from.

    Attributes
    ----------
    record : PresetRecord
    cautions : tuple of Caution
        Starts outside their bounds, and what is unconfirmed.
    """

    record: PresetRecord
    cautions: tuple[Caution, ...]

    def __new__(
        cls, pools: Iterable[Pool], record: PresetRecord, cautions: tuple[Caution, ...] = ()
    ) -> Preset:
        """Pools, their source, and cautions beyond those of the starts."""
        made = super().__new__(cls, pools)
        made.record = record
        made.cautions = start_cautions(tuple(made), record.baseline) + cautions
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        own = start_cautions(tuple(self), self.record.baseline)
        return Preset, (tuple(self), self.record, self.cautions[len(own) :])

    @property
    def name(self) -> str:
        """Name of the set."""
        return self.record.name

    @property
    def baseline(self) -> Range:
        """Signal far from all lines that belongs to the set."""
        return self.record.baseline

    @property
    def field_t(self) -> float | None:
        """Field that it was made for."""
        return self.record.field_t


def _eval_pools() -> tuple[Pool, ...]:
    return (
        Pool("water", (0.9, 0.02, 1.0), (1.4, 0.3, 10.0), (0.0, -1.0, 1.0)),
        Pool("amide", (0.025, 0.0, 0.2), (0.5, 0.4, 4.0), (3.5, 3.0, 4.0)),
        Pool("noe", (0.02, 0.0, 0.4), (7.0, 1.0, 5.0), (-3.5, -4.5, -2.0)),
        Pool("mt", (0.1, 0.0, 1.0), (25.0, 10.0, 100.0), (-2.0, -4.0, 4.0)),
        Pool("amine", (0.01, 0.0, 0.2), (1.0, 0.4, 2.5), (2.2, 1.0, 2.5)),
    )


def _batch_pools() -> tuple[Pool, ...]:
    water, amide, noe, mt, amine = _eval_pools()
    return (
        water,
        amide.with_(width_ppm=(0.5, 0.4, 3.0)),
        noe,
        mt.with_(centre_ppm=(-2.0, -4.0, -1.0)),
        amine.with_(width_ppm=(1.0, 1.0, 3.5)),
    )


_NOE2 = Pool("noe2", (0.02, 0.0, 0.2), (1.0, 0.4, 3.0), (-1.6, -2.0, -1.2))
_AMINE3 = Pool("amine", (0.01, 0.0, 0.2), (1.0, 0.4, 2.5), (2.85, 2.7, 3.0))
_OH = Pool("hydroxyl", (0.01, 0.0, 0.2), (1.0, 0.4, 2.5), (1.1, 0.9, 1.3))


def _more_pools(*more: Pool) -> tuple[Pool, ...]:
    """Five pools and more, the one at 2 ppm narrowed to guanidine where an amine or hydroxyl is beside it."""
    pools = _eval_pools()
    if len(more) > 1:
        pools = (*pools[:4], pools[4].with_(name="guanidine", centre_ppm=(2.0, 1.8, 2.3)))
    return (*pools, *more)


_MORE_NOTE = (
    "positions of the additional pools are published; their depths, widths and the bounds around the "
    "positions are those of the amine, set here"
)


def _records() -> dict[str, tuple[tuple[Pool, ...], PresetRecord]]:
    def record(
        name: str, field: float | None, baseline: Range, source: str, note: str, *pools: Pool
    ) -> tuple[tuple[Pool, ...], PresetRecord]:
        return pools, PresetRecord(name, field, baseline, source, "published", note)

    three_t_water = Pool("water", (0.9, 0.4, 1.0), (2.3, 1.0, 6.0), (0.0, -2.0, 2.0))
    sets = [
        record("water", None, _FIXED, _EVAL, "the water line alone", _eval_pools()[0]),
        record("7t_5pool", 7.0, _FIXED, _EVAL, "", *_eval_pools()),
        record("7t_5pool_batch", 7.0, _FIXED, f"{_EVAL}, batch bounds", "", *_batch_pools()),
        record("7t_6pool", 7.0, _FIXED, _EVAL, _MORE_NOTE, *_more_pools(_NOE2)),
        record("7t_7pool", 7.0, _FIXED, _EVAL, _MORE_NOTE, *_more_pools(_AMINE3, _OH)),
        record("7t_8pool", 7.0, _FIXED, _EVAL, _MORE_NOTE, *_more_pools(_NOE2, _AMINE3, _OH)),
        record(
            "3t_mplf",
            3.0,
            _FIXED,
            _MPLF,
            "the published start of guanidine lies at its lower bound",
            three_t_water,
            Pool("amide", (0.01, 0.0, 0.25), (2.0, 1.0, 12.5), (3.5, 3.5, 3.5)),
            Pool("noe", (0.01, 0.0, 0.25), (4.0, 2.0, 15.0), (-3.5, -3.5, -3.5)),
            Pool("mt", (0.1, 0.001, 0.35), (60.0, 30.0, 150.0), (-2.5, -2.5, -2.5)),
            Pool("guanidine", (0.0, 0.0, 0.25), (2.0, 0.0, 12.5), (2.0, 2.0, 2.0)),
        ),
        record(
            "3t_4pool",
            3.0,
            (1.0, 0.5, 1.0),
            _LIBRARY,
            "the start of the baseline within its published bounds is set here",
            three_t_water.with_(centre_ppm=(0.0, -1.0, 1.0)),
            Pool("amide", (0.0, 0.0, 0.2), (2.0, 1.0, 10.0), (3.5, 3.5, 3.5)),
            Pool("noe", (0.1, 0.0, 0.2), (4.0, 2.0, 12.5), (-3.5, -3.5, -3.5)),
            Pool("mt", (0.1, 0.0025, 0.3), (60.0, 30.0, 100.0), (-2.5, -2.5, -2.5)),
        ),
        record(
            "3t_two_stage_background",
            3.0,
            _FIXED,
            f"{_EVAL}; two stages at 3 T and low B1, first stage",
            "to be fitted to the samples without labels",
            Pool("water", (0.67, 0.02, 1.0), (1.8, 0.3, 10.0), (0.0, -1.0, 1.0)),
            Pool("mt", (0.15, 0.0, 0.5), (40.0, 30.0, 60.0), (-1.0, -2.5, 0.0)),
        ),
        record(
            "3t_two_stage_difference",
            3.0,
            _FIXED,
            f"{_EVAL}; two stages at 3 T and low B1, second stage",
            "to be fitted to 1 - LD, LD the difference of background and Z; bounds are published, the starts "
            "are set here",
            Pool("amide", (0.02, 0.0, 0.2), (1.0, 0.1, 2.0), (3.5, 3.0, 4.0)),
            Pool("noe", (0.02, 0.0, 0.2), (1.0, 0.1, 2.0), (-3.5, -4.0, -3.0)),
            Pool("amine", (0.02, 0.0, 0.2), (1.0, 0.1, 3.0), (2.0, 1.8, 2.2)),
        ),
        record(
            "3t_prostate",
            3.0,
            _FIXED,
            "prostate at 3 T, six Lorentzians",
            "starts are published; bounds are set here, as wide as those of the 7 T set; the other published "
            "start of the depth of mt is 0.3",
            Pool("water", (0.8, 0.02, 1.0), (1.0, 0.3, 10.0), (0.0, -1.0, 1.0)),
            Pool("amide", (0.1, 0.0, 0.4), (2.0, 0.4, 5.0), (3.5, 3.0, 4.0)),
            Pool("noe", (0.1, 0.0, 0.4), (2.0, 0.4, 5.0), (-3.5, -4.5, -2.0)),
            Pool("mt", (0.1, 0.0, 1.0), (20.0, 10.0, 100.0), (0.0, -4.0, 4.0)),
            Pool("amine", (0.1, 0.0, 0.4), (1.0, 0.4, 2.5), (1.9, 1.75, 2.5)),
            Pool("amine2", (0.1, 0.0, 0.4), (1.0, 0.4, 2.5), (1.6, 1.0, 1.75)),
        ),
        record(
            "calf_water",
            None,
            _FIXED,
            f"{_EVAL}; bounds of the water line in calf muscle",
            "the other pools and the starts are the user's",
            Pool("water", (0.9, 0.4, 1.0), (1.4, 0.2, 5.0), (0.0, -1.5, 1.5)),
        ),
        record(
            "iopamidol_4pool",
            None,
            _FIXED,
            "iopamidol by four Lorentzians",
            "starts and the bounds of the centres are published; the bounds of depth, width and of water's "
            "centre are set here",
            Pool("water", (0.9, 0.0, 1.0), (1.0, 0.2, 10.0), (0.0, -1.0, 1.0)),
            Pool("hydroxyl", (0.7, 0.0, 1.0), (1.0, 0.2, 5.0), (1.0, 0.5, 2.0)),
            Pool("amide_4p2", (0.5, 0.0, 1.0), (1.0, 0.2, 5.0), (4.2, 3.2, 5.2)),
            Pool("amide_5p6", (0.5, 0.0, 1.0), (1.0, 0.2, 5.0), (5.6, 5.1, 6.1)),
        ),
    ]
    return {made[1].name: made for made in sets}


def preset_names() -> tuple[str, ...]:
    """Names that `preset` takes."""
    return tuple(_records())


def preset(name: str) -> Preset:
    """A published set of pools: a tuple of `Pool` with its source.

    Parameters
    ----------
    name : str
        One of `preset_names`; those of brain begin with the field that they were made for.

    Returns
    -------
    Preset
        Its `record` says where it is from and what in it is not published, its `baseline` belongs into `fit`,
        its `cautions` tell which published starts lie outside their own bounds. There is no public set for
        9.4 or 11.7 T; `scaled_to_field` makes one by an unconfirmed rule.

    Raises
    ------
    ValueError
        For another name.
    """
    records = _records()
    if name not in records:
        raise ValueError(f"unknown set of pools {name!r}; there are {', '.join(records)}")
    return Preset(*records[name])


def scaled_to_field(pools: Preset, field_t: float) -> Preset:
    """The set with the width of water scaled to another field, as field over `field_t`.

    The rule is unconfirmed, and nothing public tells the lines at 9.4 or 11.7 T: the result says so in its
    cautions. The other lines stay as they are.

    Raises
    ------
    ValueError
        If the set was made for no particular field, or has no water.
    ImplausibleValue
        If the field is not one of a scanner.
    """
    own = pools.record.field_t
    if own is None or not any(pool.name == "water" for pool in pools):
        raise ValueError(f"{pools.name} has no line of water at a known field to scale")
    if not 0.1 <= field_t <= 30.0:
        raise ImplausibleValue(
            "the field is not one of a scanner", where="field_t", found=f"{field_t:g} T", needed="0.1 to 30 T"
        )
    ratio = own / float(field_t)

    def scaled(pool: Pool) -> Pool:
        start, low, high = (ratio * value for value in pool.width_ppm)
        return pool.with_(width_ppm=(start, low, high)) if pool.name == "water" else pool

    caution = Caution(
        "unconfirmed-pool-widths",
        f"the width of water was scaled from {own:g} to {field_t:g} T by the ratio of the fields, which is "
        "unconfirmed; the other lines are those of the lower field",
        "pools",
    )
    record = PresetRecord(
        pools.name, float(field_t), pools.baseline, pools.record.source, "unconfirmed", pools.record.note
    )
    return Preset(map(scaled, pools), record, (*_extra(pools), caution))


def _extra(pools: Preset) -> tuple[Caution, ...]:
    return pools.cautions[len(start_cautions(tuple(pools), pools.baseline)) :]
