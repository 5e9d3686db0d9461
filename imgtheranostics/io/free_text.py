"""Which texts of an acquisition may be written: words of closed vocabularies, never what somebody typed.

Manufacturer, model, tracer name, sequence and the like are free text in DICOM and JSON, and people do write
names into them. Only a known word is written, unless identifiers are asked for.
"""

from __future__ import annotations

import re

_VENDORS = (
    "Siemens",
    "GE",
    "Philips",
    "Canon",
    "Toshiba",
    "Hitachi",
    "United Imaging",
    "Bruker",
    "Mediso",
    "MILabs",
    "iThera",
    "FUJIFILM VisualSonics",
    "VisualSonics",
    "Sofie",
    "Molecubes",
    "PerkinElmer",
    "Agilent",
    "Varian",
    "MR Solutions",
    "Trifoil",
    "Concorde",
    "CTI",
    "imgtheranostics",
)
_VENDOR_WORDS = tuple((name, re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)) for name in _VENDORS)

_SPECIES = (
    "human",
    "homo sapiens",
    "mouse",
    "mus musculus",
    "rat",
    "rattus norvegicus",
    "rabbit",
    "dog",
    "pig",
)
_PULSES = (
    "block",
    "gauss",
    "gaussian",
    "sinc",
    "sinc-gauss",
    "fermi",
    "hanning",
    "hamming",
    "adiabatic",
    "hyperbolic secant",
)
_ORDERS = ("ascending", "descending", "alternating", "random", "interleaved", "sequential")
_IMAGES = ("p0", "mu_a", "raw-au")
_RECONSTRUCTIONS = (
    "backprojection",
    "back-projection",
    "back projection",
    "universal back-projection",
    "delay_and_sum",
    "delay and sum",
    "model",
    "model-based",
    "fourier",
    "time reversal",
)
_FILTERS = (
    "aluminum",
    "aluminium",
    "copper",
    "tin",
    "molybdenum",
    "rhodium",
    "niobium",
    "europium",
    "lead",
    "silver",
    "gold",
    "iron",
    "al",
    "cu",
    "sn",
    "mixed",
    "none",
)
_CONTRASTS = (
    "iodine",
    "gadolinium",
    "hafnium",
    "hafnium oxide",
    "gold",
    "bismuth",
    "iron",
    "barium",
    "carbon dioxide",
    "calcium",
    "water",
    "i",
    "gd",
    "hf",
    "hfo2",
    "au",
    "bi",
    "fe",
    "ca",
)
_FORMATS = frozenset({"none", "2d", "m_mode", "spectral", "waveform", "graphics", "other"})
_LENGTHS_AND_TIMES = {"cm", "cm2", "cm3", "s", "hz", "cm/s", "cm2/s", "cm3/s", "deg"}
_REGION_UNITS = frozenset({"none", "unknown", "percent", "db", "db/s", *_LENGTHS_AND_TIMES})
_VOCABULARIES = {
    "spatial_format": _FORMATS,
    "x_unit": _REGION_UNITS,
    "y_unit": _REGION_UNITS,
    "contrast_material": _CONTRASTS,
    "filter_material": _FILTERS,
    "filter_materials": _FILTERS,
    "species": _SPECIES,
    "pulse_shape": _PULSES,
    "mt_pulse_shape": _PULSES,
    "acquisition_order": _ORDERS,
    "reconstruction": _RECONSTRUCTIONS,
}
_DROPPED = frozenset({"model", "name", "contrast_agent", "sequence"})
_PATTERNS = {
    "kernel": re.compile(
        r"^([A-Z]{1,2}\d{2,3}[A-Z]?(\\\d)?|FC\d{2}(-[A-Z])?|[A-EL]|[EUY][A-D]|STANDARD|SOFT|CHST|BONE|BONEPLUS"
        r"|LUNG|DETAIL|EDGE|ULTRA|RAMP|RAM-LAK|SHEPP-LOGAN|HAMMING|HANN|COSINE)$",
        re.IGNORECASE,
    ),
    "filtration": re.compile(
        r"^((STRIP|WEDGE|BUTTERFLY|MULTIPLE|FLAT|NONE)(_\d{1,2})?|\d{1,2}"
        r"|(BODY|HEAD|SMALL|MEDIUM|LARGE)( BOWTIE)? FIL(TER)?)$",
        re.IGNORECASE,
    ),
}
"""Reconstruction kernels and filters as vendors name them, and the filter types of the standard."""

_CODE = re.compile(r"^[A-Z0-9_ /.+^-]{1,16}$")
_NUCLIDE = re.compile(r"^([A-Z][a-z]?-\d{1,3}m?|\d{1,3}m?[A-Z][a-z]?)$")
_NUMBER = re.compile(r"^-?\d+(\.\d+)?(e[+-]?\d+)?$")
_WORDS = frozenset(
    {
        "scan_start",
        "injection",
        "ppm",
        "Hz",
        "real_world",
        "rescaled",
        "stored",
        "philips_floating_point",
        "philips_display",
        "downfield_positive",
        "upfield_positive",
        "sidecar",
        "bids_mt",
        "text",
        "quit",
        "fabber",
        "pulseq",
        "siemens_wip",
        "bruker",
        "given",
        "first_image",
        "null_or_far_offset",
        "M0Index",
    }
)


def harmless_text(field: str, text: str) -> str | None:
    """The text if it belongs to the vocabulary of the field, a vendor's plain name, or None.

    >>> harmless_text("manufacturer", "SIEMENS Healthineers, Dr. Who's copy")
    'Siemens'
    >>> harmless_text("model", "Biograph") is None
    True
    """
    if field == "manufacturer":
        return next((name for name, word in _VENDOR_WORDS if word.search(text)), None)
    if field in _DROPPED:
        return None
    if field in _PATTERNS:
        return text if _PATTERNS[field].match(text) else None
    if field in _VOCABULARIES:
        words = [word.strip().lower() for word in text.split("\\")]
        return text if all(word in _VOCABULARIES[field] for word in words) else None
    if text.lower() in _IMAGES or text in _WORDS or _NUMBER.match(text) or _NUCLIDE.match(text):
        return text
    return text if _CODE.match(text) else None
