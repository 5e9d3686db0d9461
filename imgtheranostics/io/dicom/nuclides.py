"""Which nuclide a radiopharmaceutical item means, from its code or its text."""

from __future__ import annotations

from typing import Any

from imgtheranostics.data.nuclides import nuclide_in

CODES = {
    "24301009": "Au-198",
    "C-146A9": "Au-198",
    "17910003": "Br-75",
    "C-113A1": "Br-75",
    "79523006": "Br-76",
    "C-113A2": "Br-76",
    "86521004": "Br-77",
    "C-113A3": "Br-77",
    "40565003": "C-11",
    "C-105A1": "C-11",
    "27054007": "Co-57",
    "C-144A3": "Co-57",
    "425364008": "Cu-60",
    "C-127A4": "Cu-60",
    "71425003": "Cu-61",
    "C-127A1": "Cu-61",
    "422934004": "Cu-62",
    "C-127A5": "Cu-62",
    "3932008": "Cu-64",
    "C-127A2": "Cu-64",
    "53700003": "Cu-67",
    "C-127A3": "Cu-67",
    "77004003": "F-18",
    "C-111A1": "F-18",
    "69089000": "Fe-52",
    "C-130A1": "Fe-52",
    "79477007": "Ga-66",
    "C-131A1": "Ga-66",
    "2008008": "Ga-67",
    "C-131A2": "Ga-67",
    "35337001": "Ga-68",
    "C-131A3": "Ga-68",
    "53315004": "Ge-68",
    "C-128A2": "Ge-68",
    "C1943": "Ho-166",
    "21572004": "I-123",
    "C-114A4": "I-123",
    "40937006": "I-124",
    "C-114A5": "I-124",
    "68630002": "I-125",
    "C-114A6": "I-125",
    "1368003": "I-131",
    "C-114B1": "I-131",
    "56609000": "In-111",
    "C-145A4": "In-111",
    "447553000": "Lu-177",
    "C-101ED": "Lu-177",
    "126601": "Mn-51",
    "37225000": "Mn-52",
    "C-149A1": "Mn-52",
    "21576001": "N-13",
    "C-107A1": "N-13",
    "71633006": "Na-22",
    "C-155A1": "Na-22",
    "129504001": "O-15",
    "C-B1038": "O-15",
    "47588004": "Pb-203",
    "C-132A8": "Pb-203",
    "24853006": "Ra-223",
    "C-136A2": "Ra-223",
    "79197006": "Rb-82",
    "C-159A2": "Rb-82",
    "395865006": "Re-186",
    "C-11906": "Re-186",
    "423578007": "Re-188",
    "C-1018D": "Re-188",
    "126605": "Sc-43",
    "126600": "Sc-44",
    "419804008": "Sm-153",
    "C-B1134": "Sm-153",
    "7770004": "Sr-89",
    "C-158A6": "Sr-89",
    "126606": "Tb-152",
    "424079002": "Tc-94m",
    "C-163AA": "Tc-94m",
    "72454006": "Tc-99m",
    "C-163A8": "Tc-99m",
    "60057003": "Tl-201",
    "C-138A9": "Tl-201",
    "80751004": "Xe-133",
    "C-172A8": "Xe-133",
    "10738001": "Y-86",
    "C-162A3": "Y-86",
    "14691008": "Y-90",
    "C-162A7": "Y-90",
    "63360001": "Zr-89",
    "C-168A4": "Zr-89",
}
"""SNOMED CT, SNOMED RT and DICOM codes of the nuclides in context groups 18 and 4020."""


def nuclide_of(item: Any) -> str | None:
    """Nuclide such as ``F-18`` of a radiopharmaceutical item; None when it is not stated legibly.

    The text of the code's meaning is read before its value, which vendors mistype more often; the free
    text name of the radiopharmaceutical comes last.
    """
    texts: list[str] = []
    values: list[str] = []
    for keyword in ("RadionuclideCodeSequence", "RadiopharmaceuticalCodeSequence"):
        codes = item.get(keyword)
        for code in codes or []:
            texts.append(str(code.get("CodeMeaning", "") or ""))
            if keyword == "RadionuclideCodeSequence":
                values.append(str(code.get("CodeValue", "") or ""))
    texts.append(str(item.get("Radiopharmaceutical", "") or ""))
    for text in texts[:1]:
        found = nuclide_in(text)
        if found:
            return found
    for value in values:
        if value in CODES:
            return CODES[value]
    return next((found for text in texts if (found := nuclide_in(text))), None)
