"""How numbers, units and quantities are written for a reader."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from imgtheranostics.units import QUANTITIES, pool_name_words

_LARGEST_FIXED = 1e6
_SMALLEST_FIXED = 1e-3
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
THIN_SPACE = "\u202f"
NOT_AVAILABLE = "n/a"

_UNIT_WORDS = {
    "1": "",
    "[HU]": "HU",
    "[arb'U]": "a.u.",
    "{counts}": "counts",
    "{counts}/s": "counts/s",
    "{stored}": "stored value",
    "Cel": "°C",
    "umol/L": "µmol/L",
    "cm2/mL": "cm²/mL",
    "deg": "°",
}
_INJECTED = {"id_per_g": "%ID/g", "id_per_ml": "%ID/mL", "id_per_region": "%ID"}
_SHORT_NAMES = {
    "id_per_g": "Uptake",
    "id_per_ml": "Uptake",
    "id_per_region": "Uptake in the region",
    "activity_concentration": "Activity concentration",
    "suv_bw": "SUV (body weight)",
    "suv_lbm_janmahasatian": "SUV (lean body mass, Janmahasatian)",
    "suv_lbm_james120": "SUV (lean body mass, James 120)",
    "suv_lbm_james128": "SUV (lean body mass, James 128)",
    "suv_bsa": "SUV (body surface area)",
    "suv_ibw": "SUV (ideal body weight)",
    "suv_peak": "SUVpeak",
    "sul_peak": "SULpeak",
    "uptake_peak": "Uptake peak",
    "metabolic_tumour_volume": "Metabolic tumour volume",
    "total_lesion_glycolysis": "Total lesion glycolysis (uptake)",
    "region_activity": "Activity in the region",
    "uptake_ratio": "Uptake ratio",
    "iauc": "Initial area (iAUC)",
    "ve": "Extravascular volume fraction vₑ",
    "vp": "Plasma volume fraction vₚ",
    "ktrans": "Kᵗʳᵃⁿˢ",
    "ph": "pH",
    "so2": "Oxygen saturation",
    "region_so2": "Oxygen saturation of the region",
    "delta_so2": "Change of oxygen saturation",
    "region_delta_so2": "Change of the region's oxygen saturation",
    "echo_intensity": "Echo power",
    "echo_enhancement": "Echo enhancement",
    "relative_echo_enhancement": "Enhancement beyond the reference",
    "echo_gain": "Echo gain",
    "echo_ratio": "Echo power over the reference",
    "echo_peak_enhancement": "Peak enhancement of the fitted curve",
    "activation_temperature": "Activation temperature T50",
    "activation_width": "Width of the activation",
    "time_integrated_activity": "Time-integrated activity",
    "tiac": "Time-integrated activity of the region",
    "tiac_per_g": "Time-integrated activity per gram",
    "tiac_per_ml": "Time-integrated activity per millilitre",
    "effective_half_life": "Effective half-life",
    "biological_half_life": "Biological half-life",
    "local_dose_per_activity": "Absorbed dose per activity given, local",
    "self_dose_per_activity": "Absorbed dose per activity given, sphere of the region's mass",
    "imaged_effective_half_life": "Effective half-life of the nuclide imaged",
    "imaged_tiac": "Time-integrated activity of the region, of the nuclide imaged",
    "imaged_tiac_per_g": "Time-integrated activity per gram, of the nuclide imaged",
    "imaged_tiac_per_ml": "Time-integrated activity per millilitre, of the nuclide imaged",
    "id_per_g_at_injection": "Uptake at the injection by the carrier's curve",
    "id_per_ml_at_injection": "Uptake at the injection by the carrier's curve",
    "id_per_region_at_injection": "Uptake in the region at the injection by the carrier's curve",
    "mean_residence_time": "Mean residence time",
    "extrapolated_fraction": "Share of the area after the last sample",
    "tissue_influx": "Influx K₁",
    "tissue_efflux": "Efflux k₂",
    "binding_rate": "Binding rate k₃",
    "release_rate": "Release rate k₄",
    "blood_fraction": "Blood fraction vB",
    "bolus_delay": "Delay of the bolus",
    "distribution_volume": "Volume of distribution VT",
    "net_influx": "Net influx Ki",
    "relative_influx": "Influx relative to the reference",
    "distribution_ratio": "Distribution volume ratio DVR",
    "binding_potential": "Binding potential BP",
    "relative_delivery": "Relative delivery R₁",
    "apparent_efflux": "Apparent efflux k₂ₐ",
    "reference_efflux": "Efflux of the reference k₂′",
    "pre_b0_shift": "Water frequency shift before",
    "post_b0_shift": "Water frequency shift after",
    "absorbed_dose_per_activity": "Absorbed dose per activity given",
    "equivalent_uniform_dose": "Equivalent uniform dose (gEUD)",
    "biologically_effective_dose": "Biologically effective dose (BED)",
    "equieffective_dose_2gy": "Dose in fractions of 2 Gy with the same effect (EQD2)",
    "protraction_factor": "Protraction factor G",
    "uncorrected_mean": "Mean before the correction",
    "recovery_coefficient": "Recovery coefficient",
    "apparent_recovery": "Mean before over mean after",
}
_ACTIVITIES = ((1e9, "GBq"), (1e6, "MBq"), (1e3, "kBq"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_TIME_STEPS = ((259_200.0, 86_400.0, "d"), (7200.0, 3600.0, "h"), (300.0, 60.0, "min"), (-1.0, 1.0, "s"))
_DOSE_MEASURE = re.compile(r"([dv])(\d+(?:_\d+)?)_(?:dose_at_volume|volume_at_dose)")
_LONG = frozenset((
    "effective_half_life", "biological_half_life", "mean_residence_time", "time_integrated_activity", "tiac",
    "tiac_per_g", "tiac_per_ml", "imaged_effective_half_life", "imaged_tiac", "imaged_tiac_per_g",
    "imaged_tiac_per_ml",
))  # fmt: skip
"""Quantities of hours and days, which nobody reads in seconds."""

_LONG_UNITS = {"s/g": (3600.0, "h/g"), "s/mL": (3600.0, "h/mL"), "Bq.s/mL": (3.6e9, "MBq·h/mL")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True)
class Rounded:
    """A value and its standard error as text, rounded alike; `power` is a shared power of ten or empty."""

    value: str
    error: str
    power: str = ""

    def __str__(self) -> str:
        if self.error == NOT_AVAILABLE:
            return f"{self.value}{self.power}"
        both = f"{self.value} ± {self.error}"
        return f"({both}){self.power}" if self.power else both


def rounded(value: float | None, error: float | None = None) -> Rounded:
    """A value rounded to two significant digits of its standard error; four digits where there is none.

    >>> str(rounded(11.9834, 0.6211))
    '11.98 ± 0.62'
    >>> str(rounded(123_456.0, 2_345.0))
    '123\u202f500 ± 2\u202f300'
    """
    if value is None or not math.isfinite(value):
        return Rounded(NOT_AVAILABLE, NOT_AVAILABLE)
    known = error is not None and math.isfinite(error) and error > 0
    spread = float(error) if known and error is not None else 0.0
    largest = max(abs(value), spread)
    exponent = 0
    if largest > 0 and (largest >= _LARGEST_FIXED or largest < _SMALLEST_FIXED):
        exponent = math.floor(math.log10(largest))
    value, spread = value / 10.0**exponent, spread / 10.0**exponent
    digits = _last_digit(spread, 2) if known else _last_digit(value, 4)
    text = _fixed(value, digits)
    power = f" × 10{str(exponent).translate(_SUPERSCRIPTS)}" if exponent else ""
    none = "0" if error is not None and error == 0 else NOT_AVAILABLE
    return Rounded(text, _fixed(spread, digits) if known else none, power)


def _last_digit(number: float, significant: int) -> int:
    """Decimals that leave so many significant digits after rounding; negative for tens and hundreds."""
    if number == 0:
        return 0
    digits = significant - 1 - math.floor(math.log10(abs(number)))
    once = round(abs(number), digits)
    return significant - 1 - math.floor(math.log10(once)) if once else digits


def _fixed(number: float, digits: int) -> str:
    shortened = round(number, digits)
    text = f"{abs(shortened):,.{max(digits, 0)}f}"
    whole, _, decimals = text.partition(".")
    whole = whole.replace(",", THIN_SPACE if abs(shortened) >= 10_000 or digits < -1 else "")
    sign = "−" if shortened < 0 else ""
    return sign + whole + (f".{decimals}" if decimals else "")


def number(value: float | None, significant: int = 4, *, zeros: bool = False) -> str:
    """A plain number with so many significant digits, in the same dress as `rounded`.

    Trailing zeros after the point are cut unless `zeros` is set, as columns of a table want it.
    """
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    if value and not _SMALLEST_FIXED <= abs(value) < _LARGEST_FIXED * 10:
        large = rounded(value)
        digits = large.value if zeros or "." not in large.value else large.value.rstrip("0").rstrip(".")
        return f"{digits}{large.power}"
    text = _fixed(value, max(_last_digit(value, significant), 0))
    return text.rstrip("0").rstrip(".") if "." in text and not zeros else text


def size(n_bytes: float) -> str:
    """A number of bytes in a fitting unit.

    >>> size(1536), size(2.5e6)
    ('1.54 kB', '2.5 MB')
    """
    step, unit = next((item for item in _SIZES if n_bytes >= item[0]), (1.0, "bytes"))
    return f"{number(n_bytes / step, 3)} {unit}"


def unit_words(unit: str, quantity: str = "") -> str:
    """A UCUM code as readers write it; empty for the unit one.

    >>> unit_words("%/g", "id_per_g"), unit_words("[HU]")
    ('%ID/g', 'HU')
    """
    return _INJECTED.get(quantity, "") or _UNIT_WORDS.get(unit, unit)


def readers_unit(quantity: str, unit: str, largest: float) -> tuple[float, str]:
    """What values of a quantity are divided by for readers, and the unit then as they write it.

    >>> readers_unit("effective_half_life", "s", 41_040.0), readers_unit("t1", "s", 1.2)
    ((3600.0, 'h'), (1.0, 's'))
    """
    if quantity in _LONG and unit == "s" and math.isfinite(largest):
        return time_scale(abs(largest))
    if quantity in _LONG and unit in _LONG_UNITS:
        return _LONG_UNITS[unit]
    return 1.0, unit_words(unit, quantity)


def quantity_words(quantity: str) -> str:
    """A quantity's name for a heading."""
    short = _SHORT_NAMES.get(quantity)
    if short is not None:
        return short
    measure = _DOSE_MEASURE.fullmatch(quantity)
    if measure is not None:
        at = measure[2].replace("_", ".")
        if measure[1] == "d":
            return f"D{at}: least dose in the hottest {at} % of the region"
        return f"V{at}: share of the region with a dose of at least {at}"
    record = QUANTITIES.get(quantity)
    words = record.description if record is not None else quantity.replace("_", " ")
    return words[:1].upper() + words[1:]


def pool_words(name: str) -> str:
    """The name of a pool of a Z-spectrum as readers write it.

    >>> pool_words("noe"), pool_words("amide_2")
    ('NOE', 'amide 2')
    """
    return pool_name_words(name)


def with_unit(quantity: str, unit: str) -> str:
    """Heading of a quantity with its unit, for axes and tables."""
    words = unit_words(unit, quantity)
    return f"{quantity_words(quantity)} [{words}]" if words else quantity_words(quantity)


def time_scale(largest_s: float) -> tuple[float, str]:
    """Seconds per step and its symbol for an axis that reaches so far."""
    return next((step, symbol) for start, step, symbol in _TIME_STEPS if largest_s > start)


def duration(seconds: float) -> str:
    """A span of time in its natural unit, with sign where negative.

    >>> duration(6586.2), duration(-90.0)
    ('109.8 min', '−90 s')
    """
    if not math.isfinite(seconds):
        return NOT_AVAILABLE
    step, symbol = time_scale(abs(seconds))
    return f"{number(seconds / step)} {symbol}"


def activity(bq: float) -> str:
    """An activity in a fitting multiple of the becquerel.

    >>> activity(6.92e6), activity(0.0)
    ('6.92 MBq', '0 Bq')
    """
    step, unit = next((item for item in _ACTIVITIES if abs(bq) >= item[0]), (1.0, "Bq"))
    return f"{number(bq / step, 5)} {unit}"


def shortened(text: str, longest: int = 36) -> str:
    """A label on one line, without control characters, cut with an ellipsis."""
    line = " ".join(_CONTROL.sub(" ", text).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def flag_words(name: str) -> str:
    """A flag's name as words.

    >>> flag_words("BELOW_NOISE")
    'below noise'
    """
    return name.lower().replace("_", " ")
