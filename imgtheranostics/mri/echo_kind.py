"""Whether echoes are spin echoes, whose decay is T2, or gradient echoes, whose decay is T2*."""

from __future__ import annotations

from imgtheranostics.errors import Caution, MissingMetadata
from imgtheranostics.mapping.mr_signal import mr_record
from imgtheranostics.volume import Volume

_SPIN_ECHO, _GRADIENT_ECHO = ("MESE", "T2w"), ("MEGRE", "T2starw")
_WORDS = {"r2": "spin echoes (T2)", "r2star": "gradient echoes (T2*)"}


def recorded_decay_kind(v: Volume) -> str | None:
    """``r2`` or ``r2star`` by the sequence or the name of the file; None where neither tells."""
    words = {word.upper() for word in mr_record(v).scanning_sequence}
    if "SE" in words and "GR" not in words:
        return "r2"
    if "GR" in words and "SE" not in words:
        return "r2star"
    suffixes = {path.name.split(".")[0].rpartition("_")[2] for path in v.source.files}
    if suffixes & set(_SPIN_ECHO):
        return "r2"
    return "r2star" if suffixes & set(_GRADIENT_ECHO) else None


def decay_kind(v: Volume, given: str | None = None) -> str:
    """Whether echoes tell R2 or R2*: as given, else as recorded.

    Raises
    ------
    MissingMetadata
        If nothing tells spin echoes from gradient echoes.
    """
    found = given or recorded_decay_kind(v)
    if found is not None:
        return found
    words = sorted(word.upper() for word in mr_record(v).scanning_sequence)
    raise MissingMetadata(
        "nothing says whether these are spin echoes (R2) or gradient echoes (R2*)",
        where="ScanningSequence (0018,0020); sidecar key ScanningSequence",
        found=", ".join(words) or "absent",
        needed="SE or GR",
        next_step="give --contrast r2 or --contrast r2star (kind=)",
    )


def other_echoes(v: Volume, kind: str) -> tuple[Caution, ...]:
    """A caution where the file tells of the other kind of echoes than `kind` is the decay of."""
    recorded = recorded_decay_kind(v)
    if recorded in (None, kind):
        return ()
    return (
        Caution(
            "other-echoes",
            f"the file says {_WORDS[str(recorded)]}, but the decay is reported as that of {_WORDS[kind]}",
            "ScanningSequence (0018,0020), or the suffix of the file",
        ),
    )
