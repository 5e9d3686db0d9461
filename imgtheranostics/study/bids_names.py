"""Which name a map has in BIDS: folder, description label, suffix, and what its sidecar must state.

BIDS 1.11 has names for uptake images (``pet``) and relaxometry (``T1map`` and its kin). What it has no name
for yet, such as CT, SPECT, optoacoustics, ultrasound or pharmacokinetic maps, is named in the same way in
folders that ``.bidsignore`` leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from imgtheranostics.errors import UnitMismatch
from imgtheranostics.units import canonical_unit

FOLDERS = ("anat", "pet", "ct", "mr", "nm", "pa", "us", "other")
"""Folders of a subject or session that hold maps under such names; no analysis is named so."""
VISIBLE_FOLDERS = ("anat", "pet")
"""Those that BIDS knows."""
IGNORED_SUFFIXES = ("mimap", "dseg")
"""In the folder pet: not in BIDS 1.11, the first is proposed by its extension 23."""
RESERVED = frozenset(
    ("beh", "dwi", "eeg", "emg", "fmap", "func", "ieeg", "meg", "micr", "motion", "mrs", "nirs", "perf")
) | frozenset((*FOLDERS, "phenotype"))

_RELAXOMETRY = {
    "t1": "T1map",
    "t2": "T2map",
    "t2star": "T2starmap",
    "r1": "R1map",
    "r2": "R2map",
    "r2star": "R2starmap",
}
_UPTAKE = ("activity_concentration", "suv_", "id_per_", "count")
_ELSEWHERE = {
    "CT": ("ct", "ct"),
    "NM": ("nm", "spect"),
    "PA": ("pa", "pa"),
    "US": ("us", "us"),
    "MR": ("mr", "mrmap"),
    "PT": ("pet", "mimap"),
}
_OTHER = ("other", "map")
_STATED_BY_SOURCE = ("InjectedMass", "SpecificRadioactivity")
_GRADIENT = "NonlinearGradientCorrection"


@dataclass(frozen=True)
class Naming:
    """What the names and sidecars of a study's maps depend on beyond the maps.

    Attributes
    ----------
    tracer : str
        The agent that the manifest names; empty where none is.
    datasets : tuple of (str, str)
        Root of each BIDS dataset that scans come from, and its name in BIDS URIs.
    """

    tracer: str = ""
    datasets: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class BidsName:
    """Folder, label of the ``desc`` entity and suffix of a map, and keys that its sidecar gets for that.

    `says_quantity` is whether the label does, or the suffix.
    """

    folder: str
    label: str
    suffix: str
    keys: Mapping[str, Any]
    says_quantity: bool = True

    def path(self, where: str, label: str) -> str:
        """Without its extension, below the output; `where` is ``sub-x`` or ``sub-x/ses-y``."""
        return f"{where}/{self.folder}/{where.replace('/', '_')}_desc-{label}_{self.suffix}"


def camel(name: str) -> str:
    """A label of letters and digits.

    >>> camel("id_per_g"), camel("pet-onto-ct")
    ('idPerG', 'petOntoCt')
    """
    first, *rest = re.split(r"[^A-Za-z0-9]+", name)
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def bids_name(
    analysis: str, stem: str, own: Mapping[str, Any], source: Mapping[str, Any], naming: Naming
) -> BidsName:
    """The name of a map.

    Parameters
    ----------
    analysis : str
        Label of the analysis.
    stem : str
        The map's file name as the command wrote it, without extension.
    own : mapping
        Its sidecar; of labels with the modality of the scan that they lie on.
    source : mapping
        The sidecar of the scan that it comes from; empty where it has none.
    naming : Naming
    """
    quantity, modality = str(own.get("Quantity", "")), str(own.get("Modality", ""))
    folder, suffix = _ELSEWHERE.get(modality, _OTHER)
    if modality == "MR" and quantity in _RELAXOMETRY:
        folder, suffix = "anat", _RELAXOMETRY[quantity]
    elif modality == "PT" and quantity.startswith(_UPTAKE) and _has_frames(own):
        suffix = "pet"
    elif modality == "MR" and quantity == "labels" and not own.get("Axes"):
        folder = "anat"
    plain = stem.removesuffix("_se")
    told = "" if suffix == _RELAXOMETRY.get(quantity) and plain == quantity else plain
    if quantity == "labels":
        suffix, told = "dseg", "" if plain == "regions" else plain
    words = [analysis, told, "standard-error" if plain != stem else ""]
    label = camel("-".join(word for word in words if word))
    return BidsName(folder, label, suffix, _keys(own, source, naming), bool(told))


def _has_frames(own: Mapping[str, Any]) -> bool:
    """Whether what is stated of frames fits the image, if anything is."""
    axes = own.get("Axes") or [{"Values": [0.0]}]
    stated = [own[key] for key in ("FrameTimesStart", "FrameDuration") if key in own]
    return all(len(values) == len(axes[0]["Values"]) for values in stated)


def _keys(own: Mapping[str, Any], source: Mapping[str, Any], naming: Naming) -> dict[str, Any]:
    """What BIDS asks for beyond the map's own sidecar, where it is stated.

    Texts of the source are not repeated, as people write names into them; the tracer is that of the manifest.
    """
    modality = own.get("Modality")
    found: dict[str, Any] = {}
    if modality in ("MR", "PT") and own.get("Quantity") != "labels":
        found["SkullStripped"] = False
    if modality == "MR" and isinstance(source.get(_GRADIENT), bool):
        found[_GRADIENT] = source[_GRADIENT]
    if modality in ("PT", "NM"):
        if naming.tracer:
            found["TracerName"] = naming.tracer
        for key in _STATED_BY_SOURCE:
            found |= _amount(source, key)
    return found


def _amount(source: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A number with its unit, where the source states both."""
    value, unit = source.get(key), source.get(f"{key}Units")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and isinstance(unit, str):
        with suppress(UnitMismatch):
            return {key: value, f"{key}Units": canonical_unit(unit)}
    return {}
