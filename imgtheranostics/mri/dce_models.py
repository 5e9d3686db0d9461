"""Which parameters each model of dynamic contrast enhancement has, in which units and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as users see it, and its factor from the kernels' units (s).

    Attributes
    ----------
    name, unit : str
        Name in `Fit.parameters`, UCUM code.
    lower, upper : float
        Bounds; a value that ends there is flagged.
    negligible : float
        Size below which a change does not matter.
    factor : float
        Value in `unit` over the value in the kernels' unit.
    """

    name: str
    unit: str
    lower: float
    upper: float
    negligible: float
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Model:
    """A tracer model: its code in the kernels and its parameters in their order there.

    `volume_of` names, for a volume that only an exchange fills, the parameter without which it is unknown;
    `SEALED` has the model that is left then.
    """

    name: str
    code: int
    parameters: tuple[Parameter, ...]
    volume_of: tuple[str, str] | None = None


_KTRANS = Parameter("ktrans_per_min", "1/min", 0.0, 10.0, 1e-5, 60.0)
_PS = Parameter("ps_per_min", "1/min", 0.0, 10.0, 1e-5, 60.0)
_FP = Parameter("fp_ml_100ml_min", "mL/100mL/min", 1e-3, 3000.0, 1e-3, 6000.0)
_VE = Parameter("ve", "1", 1e-3, 1.0, 1e-4)
_VP = Parameter("vp", "1", 0.0, 1.0, 1e-5)
_VP_OF_FLOW = Parameter("vp", "1", 1e-4, 1.0, 1e-5)

MODELS = {
    model.name: model
    for model in (
        Model("tofts", 0, (_KTRANS, _VE), ("ve", "ktrans_per_min")),
        Model("extended_tofts", 1, (_KTRANS, _VE, _VP), ("ve", "ktrans_per_min")),
        Model("patlak", 2, (_PS, _VP)),
        Model("2cxm", 3, (_FP, _PS, _VE, _VP_OF_FLOW), ("ve", "ps_per_min")),
        Model("2cum", 4, (_FP, _PS, _VP_OF_FLOW)),
    )
}
"""The models by name; the codes are those of `imgtheranostics.kernels.tracer_models`."""

KTRANS_OF_FLOW = ("2cxm", "2cum")
"""Models whose first parameters are Fp and PS: Ktrans follows from them."""

_NO_EXCHANGE = Parameter("ps_per_min", "1/min", 0.0, 0.0, 1e-5, 60.0)

SEALED = {
    "extended_tofts": Model("plasma", 2, (_NO_EXCHANGE, _VP)),
    "2cxm": Model("one compartment", 0, (_FP, _VP_OF_FLOW)),
}
"""What is left of a model without exchange: plasma alone, as Patlak's without PS, and one compartment with
flow, which is Tofts' model of other names."""

N_RATES = 16
"""Rates that the search for a start tries: neighbours differ by less than a factor 1.7."""

LARGEST_TABLE = 1 << 19
"""Numbers in the table of starts (4 MiB)."""


@dataclass(frozen=True, eq=False)
class Search:
    """Where the fit of each curve may begin: rates 1/s, delays s, pairs of table rows, and the table."""

    rates: FloatArray
    delays: FloatArray
    pairs: npt.NDArray[np.int64]
    table: FloatArray
    gram: FloatArray


def delay_parameter(bounds_s: tuple[float, float], duration_s: float) -> Parameter:
    """The delay of tissue behind the input function, at most half of the scan."""
    half = duration_s / 2
    low, high = max(float(bounds_s[0]), -half), min(float(bounds_s[1]), half)
    if not low < high:
        raise ValueError(
            f"delay_bounds_s must be (earliest, latest) within half of the scan, {half:g} s; found {bounds_s}"
        )
    return Parameter("delay_s", "s", low, high, 1e-3)


@dataclass(frozen=True, eq=False)
class Inflow:
    """The plasma curve, its times, and whether these are the same as the tissue's."""

    time_s: FloatArray
    plasma: FloatArray
    shared: bool


def search(model: Model, time_s: FloatArray, inflow: Inflow, delay: Parameter | None) -> Search:
    """The table of convolutions that starts are chosen from."""
    from imgtheranostics.kernels.tracer_fit import tabulate

    duration = float(time_s[-1] - time_s[0])
    slowest = 0.3 / duration
    fastest = max(min(1.0, 2.0 / float(np.diff(time_s).min())), 30.0 * slowest)
    rates = np.geomspace(slowest, fastest, 0 if model.name in ("patlak", "plasma") else N_RATES)
    delays = np.zeros(1)
    if delay is not None:
        most = max(8, LARGEST_TABLE // ((2 + rates.size) * time_s.size))
        count = int(min(1 + np.ceil(delay.upper - delay.lower), most))
        delays = np.linspace(delay.lower, delay.upper, count)
    table = np.empty((delays.size, 2 + rates.size, time_s.size))
    tabulate(time_s, inflow.time_s, inflow.plasma, rates, delays, table)
    gram = np.einsum("dai,dbi->dab", table, table)
    every = range(2, 2 + rates.size)
    pairs = {
        "tofts": [(row, -1) for row in every],
        "one compartment": [(row, -1) for row in every],
        "plasma": [(0, -1)],
        "extended_tofts": [(0, row) for row in every],
        "patlak": [(0, 1)],
        "2cxm": [(slow, fast) for slow in every for fast in every if slow < fast],
        "2cum": [(1, row) for row in every],
    }[model.name]
    rows = np.array(pairs, np.int64)
    return Search(np.concatenate([np.zeros(2), rates]), delays, rows, table, gram)
