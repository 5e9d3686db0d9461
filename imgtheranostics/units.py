"""The closed tables of units (UCUM) and of quantities with their unit."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from imgtheranostics.errors import UnitMismatch


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: UCUM code, dimension, and the factor to the dimension's base unit."""

    code: str
    dimension: str
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Quantity:
    """A named quantity: its unit, what it is, and the type that its voxels are stored as.

    `unit` is None where the scanner's own scale is kept (counts, arbitrary signal).
    """

    name: str
    unit: str | None
    description: str
    dtype: str = "float32"
    signed_change: bool = False


_UNITS = (
    Unit("1", "number"),
    Unit("%", "number", 1e-2),
    Unit("ppm", "number", 1e-6),
    Unit("[arb'U]", "arbitrary"),
    Unit("{counts}", "counts"),
    Unit("{counts}/s", "count rate"),
    Unit("{stored}", "stored value"),
    Unit("s", "time"),
    Unit("ms", "time", 1e-3),
    Unit("us", "time", 1e-6),
    Unit("min", "time", 60.0),
    Unit("h", "time", 3600.0),
    Unit("d", "time", 86400.0),
    Unit("1/s", "rate"),
    Unit("1/min", "rate", 1 / 60.0),
    Unit("Hz", "frequency"),
    Unit("kHz", "frequency", 1e3),
    Unit("MHz", "frequency", 1e6),
    Unit("Bq", "activity"),
    Unit("kBq", "activity", 1e3),
    Unit("MBq", "activity", 1e6),
    Unit("GBq", "activity", 1e9),
    Unit("uCi", "activity", 3.7e4),
    Unit("mCi", "activity", 3.7e7),
    Unit("Ci", "activity", 3.7e10),
    Unit("Bq/mL", "activity concentration"),
    Unit("kBq/mL", "activity concentration", 1e3),
    Unit("MBq/mL", "activity concentration", 1e6),
    Unit("Bq/mm3", "activity concentration", 1e3),
    Unit("nCi/mL", "activity concentration", 37.0),
    Unit("uCi/mL", "activity concentration", 3.7e4),
    Unit("Bq/g", "activity per mass"),
    Unit("kBq/g", "activity per mass", 1e3),
    Unit("g", "mass"),
    Unit("kg", "mass", 1e3),
    Unit("mg", "mass", 1e-3),
    Unit("ug", "mass", 1e-6),
    Unit("mL", "volume"),
    Unit("mm3", "volume", 1e-3),
    Unit("L", "volume", 1e3),
    Unit("mm", "length"),
    Unit("cm", "length", 10.0),
    Unit("m", "length", 1e3),
    Unit("m/s", "speed"),
    Unit("um", "length", 1e-3),
    Unit("nm", "length", 1e-6),
    Unit("g/mL", "mass density"),
    Unit("mg/mL", "mass density", 1e-3),
    Unit("ug/mL", "mass density", 1e-6),
    Unit("cm2/mL", "area per volume"),
    Unit("%/g", "fraction per mass"),
    Unit("%/s", "fraction per time"),
    Unit("%/kg", "fraction per mass", 1e-3),
    Unit("%/mL", "fraction per volume"),
    Unit("mg/kg", "mass per body mass"),
    Unit("mmol/kg", "substance per body mass"),
    Unit("W/g", "power per mass"),
    Unit("mmol/L", "substance concentration"),
    Unit("umol/L", "substance concentration", 1e-3),
    Unit("nmol/L", "substance concentration", 1e-6),
    Unit("pmol/L", "substance concentration", 1e-9),
    Unit("mol/L", "substance concentration", 1e3),
    Unit("mmol/L.s", "substance exposure"),
    Unit("mmol/L.min", "substance exposure", 60.0),
    Unit("umol/L.s", "substance exposure", 1e-3),
    Unit("umol/L/s", "substance rate"),
    Unit("mg/mL.s", "mass exposure"),
    Unit("mg/mL/s", "mass rate"),
    Unit("%/g.s", "fraction exposure"),
    Unit("s/g", "time per mass"),
    Unit("s/mL", "time per volume"),
    Unit("%/g/s", "fraction rate"),
    Unit("[arb'U].s", "arbitrary exposure"),
    Unit("[arb'U]/s", "arbitrary rate"),
    Unit("{particles}/mL", "number concentration"),
    Unit("L/mmol/s", "relaxivity"),
    Unit("mL/100mL/min", "perfusion"),
    Unit("mL/cm3/min", "perfusion", 100.0),
    Unit("mL/cm3", "distribution volume"),
    Unit("Cel", "temperature"),
    Unit("Gy", "absorbed dose"),
    Unit("mGy", "absorbed dose", 1e-3),
    Unit("Gy/s", "absorbed dose rate"),
    Unit("Gy/MBq", "absorbed dose per activity"),
    Unit("mGy/(MBq.s)", "dose per time-integrated activity"),
    Unit("MBq.s", "time-integrated activity"),
    Unit("Bq.s/mL", "time-integrated activity concentration"),
    Unit("deg", "angle"),
    Unit("rad", "angle", 57.29577951308232),
    Unit("T", "field"),
    Unit("uT", "field", 1e-6),
    Unit("[HU]", "attenuation"),
    Unit("dB", "level"),
    Unit("keV", "energy"),
    Unit("MeV", "energy", 1e3),
    Unit("kV", "voltage"),
    Unit("1/cm", "linear attenuation"),
    Unit("1/mm", "linear attenuation", 10.0),
    Unit("mJ", "pulse energy"),
    Unit("kg/m2", "body mass index"),
    Unit("m2", "area"),
    Unit("umol/mg", "substance per mass"),
    Unit("mmol/g", "substance per mass"),
    Unit("g/mol", "molar mass"),
    Unit("kg/mol", "molar mass", 1e3),
)

UNITS: dict[str, Unit] = {unit.code: unit for unit in _UNITS}
"""Every unit that may stand in a Volume, table or sidecar, by its UCUM code."""

_SPELLINGS = {
    "bqml": "Bq/mL",
    "bq/ml": "Bq/mL",
    "bq/cc": "Bq/mL",
    "bq/cm3": "Bq/mL",
    "bq.ml-1": "Bq/mL",
    "kbq/ml": "kBq/mL",
    "kbq/cc": "kBq/mL",
    "kbq/cm3": "kBq/mL",
    "mbq/ml": "MBq/mL",
    "nci/cc": "nCi/mL",
    "nci/ml": "nCi/mL",
    "uci/cc": "uCi/mL",
    "uci/ml": "uCi/mL",
    "bq/mm3": "Bq/mm3",
    "g/ml": "g/mL",
    "cm2/ml": "cm2/mL",
    "hu": "[HU]",
    "[hu]": "[HU]",
    "[hnsf'u]": "[HU]",
    "hounsfield": "[HU]",
    "hounsfield units": "[HU]",
    "sec": "s",
    "seconds": "s",
    "msec": "ms",
    "percent": "%",
    "mbq": "MBq",
    "bq": "Bq",
    "kbq": "kBq",
    "gbq": "GBq",
    "uci": "uCi",
    "µci": "uCi",
    "μci": "uCi",
    "mci": "mCi",
    "1": "1",
    "unitless": "1",
    "arbitrary": "[arb'U]",
    "arb": "[arb'U]",
    "counts": "{counts}",
    "counts/s": "{counts}/s",
    "cps": "{counts}/s",
}

_QUANTITIES = (
    Quantity("signal", None, "scanner signal, arbitrary scale"),
    Quantity("counts", "{counts}", "detected events"),
    Quantity("count_rate", "{counts}/s", "detected events per second"),
    Quantity("stored_value", "{stored}", "stored pixel values that carry no physical scale"),
    Quantity("labels", "1", "region labels", dtype="int32"),
    Quantity("flags", "1", "reasons why a voxel was not estimated", dtype="uint16"),
    Quantity("activity_concentration", "Bq/mL", "activity concentration"),
    Quantity("suv_bw", "g/mL", "standardised uptake value, body weight"),
    Quantity("suv_lbm_janmahasatian", "g/mL", "standardised uptake value, lean body mass (Janmahasatian)"),
    Quantity("suv_lbm_james120", "g/mL", "standardised uptake value, lean body mass (James, 120)"),
    Quantity("suv_lbm_james128", "g/mL", "standardised uptake value, lean body mass (James, 128)"),
    Quantity("suv_bsa", "cm2/mL", "standardised uptake value, body surface area"),
    Quantity("suv_ibw", "g/mL", "standardised uptake value, ideal body weight"),
    Quantity("id_per_g", "%/g", "share of what was injected, activity or mass, per gram of tissue"),
    Quantity("id_per_ml", "%/mL", "injected activity per millilitre"),
    Quantity("id_per_region", "%", "injected activity in the region"),
    Quantity("suv_peak", "g/mL", "mean SUV in the 1 mL sphere with the highest mean"),
    Quantity("sul_peak", "g/mL", "mean SUV by lean body mass in the 1 mL sphere with the highest mean"),
    Quantity("uptake_peak", None, "mean in the 1 mL sphere with the highest mean"),
    Quantity("metabolic_tumour_volume", "mL", "metabolic tumour volume, as uptake delineates it"),
    Quantity(
        "total_lesion_glycolysis",
        "g",
        "total lesion glycolysis, mean SUV times volume; of tracers other than FDG total lesion uptake",
    ),
    Quantity("region_activity", "Bq", "activity in the region"),
    Quantity("uptake_ratio", "1", "mean uptake over that of another region"),
    Quantity("density", "g/mL", "mass density"),
    Quantity("t1", "s", "longitudinal relaxation time"),
    Quantity("t2", "s", "transverse relaxation time"),
    Quantity("t2star", "s", "effective transverse relaxation time"),
    Quantity("r1", "1/s", "longitudinal relaxation rate"),
    Quantity("r2", "1/s", "transverse relaxation rate"),
    Quantity("r2star", "1/s", "effective transverse relaxation rate"),
    Quantity("delta_r1", "1/s", "change of longitudinal relaxation rate", signed_change=True),
    Quantity("delta_r2", "1/s", "change of transverse relaxation rate", signed_change=True),
    Quantity("delta_r2star", "1/s", "change of effective transverse relaxation rate", signed_change=True),
    Quantity("relative_b1", "1", "transmit field relative to nominal"),
    Quantity("phase", "rad", "phase of the complex signal"),
    Quantity("enhancement", "%", "relative signal change", signed_change=True),
    Quantity("enhancement_ratio", "1", "early over late signal change", signed_change=True),
    Quantity("bolus_arrival", "s", "time of the bolus's arrival"),
    Quantity("time_to_peak", "s", "time from the bolus's arrival to the peak"),
    Quantity("peak_enhancement", "%", "largest relative signal change", signed_change=True),
    Quantity("wash_in", "%/s", "slope of the relative signal change up to the peak", signed_change=True),
    Quantity("wash_out", "%/s", "slope of the relative signal change after the peak", signed_change=True),
    Quantity("gd_concentration", "mmol/L", "gadolinium concentration"),
    Quantity("fe_concentration", "mmol/L", "iron concentration"),
    Quantity("particle_concentration", "{particles}/mL", "particles of the agent per volume"),
    Quantity("probability", "1", "probability of a larger misfit"),
    Quantity("agent_concentration", "mmol/L", "concentration of the agent, counted as its relaxivity counts"),
    Quantity("iauc", "mmol/L.s", "initial area under the concentration curve"),
    Quantity("ktrans", "1/min", "volume transfer constant"),
    Quantity("ps", "1/min", "permeability-surface area product"),
    Quantity("fp", "mL/100mL/min", "plasma flow"),
    Quantity("bolus_delay", "s", "delay of the bolus against the input function"),
    Quantity("ve", "1", "extravascular extracellular volume fraction"),
    Quantity("vp", "1", "plasma volume fraction"),
    Quantity("tissue_influx", "mL/cm3/min", "K1, transfer of a tracer from plasma into tissue"),
    Quantity("tissue_efflux", "1/min", "k2, transfer of a tracer from tissue into plasma"),
    Quantity("binding_rate", "1/min", "k3, transfer of a tracer into the second tissue compartment"),
    Quantity("release_rate", "1/min", "k4, transfer of a tracer back from the second compartment"),
    Quantity("blood_fraction", "1", "vB, share of the volume that whole blood fills"),
    Quantity("distribution_volume", "mL/cm3", "VT, tissue over plasma concentration at equilibrium"),
    Quantity("net_influx", "mL/cm3/min", "Ki, rate at which plasma is cleared of a tracer for good"),
    Quantity("relative_influx", "1/min", "rate at which a tracer is trapped, relative to a reference tissue"),
    Quantity("distribution_ratio", "1", "volume of distribution over that of a reference tissue"),
    Quantity("binding_potential", "1", "specific over nondisplaceable binding at equilibrium"),
    Quantity("relative_delivery", "1", "K1 over that of a reference tissue"),
    Quantity("partial_volume_factor", "1", "what a voxel was multiplied by against partial volume"),
    Quantity("apparent_efflux", "1/min", "k2a, transfer of a bound tracer from tissue into plasma"),
    Quantity("reference_efflux", "1/min", "k2', transfer of a tracer from a reference tissue into plasma"),
    Quantity("temperature_change", "Cel", "temperature change", signed_change=True),
    Quantity("specific_absorption_rate", "W/g", "heating power per mass of iron"),
    Quantity("heated_volume", "mL", "volume above a temperature"),
    Quantity("cem43", "min", "cumulative equivalent minutes at 43 Cel"),
    Quantity("r_squared", "1", "share of the signal's variation that the fit explains"),
    Quantity("rmse", None, "root mean square of the fit's residuals, in the unit of the signal"),
    Quantity("iterations", "1", "iterations of the fit", dtype="uint16"),
    Quantity("inversion_efficiency", "1", "inverted share of the magnetisation"),
    Quantity("saturation_efficiency", "1", "saturated share of the magnetisation"),
    Quantity("z_spectrum", "1", "saturated over unsaturated water signal"),
    Quantity("mtr_asym", "%", "asymmetric magnetisation transfer ratio", signed_change=True),
    Quantity("mtr_rex", "%", "inverse-metric exchange contrast", signed_change=True),
    Quantity("aptw", "%", "amide-proton-transfer weighted contrast", signed_change=True),
    Quantity("b0_shift", "ppm", "water frequency shift", signed_change=True),
    Quantity("field_map", "Hz", "off-resonance frequency of water", signed_change=True),
    Quantity("mtr_norm_ref", "%", "magnetisation transfer ratio, normalised to the reference"),
    Quantity("pcm", "%", "magnetisation transfer ratio by the probabilistic combination model"),
    Quantity("arex", "1/s", "apparent exchange-dependent relaxation rate", signed_change=True),
    Quantity("lorentzian_difference", "%", "background's fit minus Z-spectrum", signed_change=True),
    Quantity(
        "delta_mtr_asym", "%", "change of the asymmetric magnetisation transfer ratio", signed_change=True
    ),
    Quantity("delta_mtr_rex", "%", "change of the inverse-metric exchange contrast", signed_change=True),
    Quantity("delta_aptw", "%", "change of the amide-proton-transfer weighted contrast", signed_change=True),
    Quantity(
        "delta_mtr_norm_ref", "%", "change of the normalised magnetisation transfer ratio", signed_change=True
    ),
    Quantity("delta_pcm", "%", "change of the probabilistic combination model's ratio", signed_change=True),
    Quantity("delta_arex", "1/s", "change of the apparent exchange-dependent relaxation", signed_change=True),
    Quantity("delta_lorentzian_difference", "%", "change of the background's difference", signed_change=True),
    Quantity(
        "contrast_fold", "1", "change of the contrast over that of the reference region", signed_change=True
    ),
    Quantity("ph_ratio", "1", "ratio of two sites' contrasts, which pH determines"),
    Quantity("exchange_rate", "1/s", "exchange rate of the labelled protons"),
    Quantity("labelled_fraction", "1", "labelled protons as a fraction of water's"),
    Quantity("label_concentration", "mmol/L", "concentration of the agent that carries labelled protons"),
    Quantity("ph", "1", "acidity"),
    Quantity("attenuation", "[HU]", "X-ray attenuation"),
    Quantity("virtual_non_contrast", "[HU]", "X-ray attenuation without the agent's, calculated"),
    Quantity("delta_attenuation", "[HU]", "change of X-ray attenuation", signed_change=True),
    Quantity("concentration", "mg/mL", "mass concentration of the agent"),
    Quantity("volume_fraction", "1", "share of the volume that a material fills"),
    Quantity("detection_limit", "mg/mL", "concentration of a region's mean that is detected"),
    Quantity("quantification_limit", "mg/mL", "concentration of a region's mean that is quantified"),
    Quantity("detectable_share", "%", "share of voxels above the limit of detection of a voxel"),
    Quantity(
        "contrast_to_noise", "1", "mean change over the noise of one voxel of the change", signed_change=True
    ),
    Quantity("retained_fraction", "%", "agent that is still there, of that in the first scan with it"),
    Quantity("agent_mass", "mg", "mass of the agent in a region"),
    Quantity("recovered_fraction", "%", "mass of the agent that is found, of what was injected"),
    Quantity("dose_enhancement", "1", "dose in tissue with a material over that in water; macroscopic"),
    Quantity("occupancy", "%", "share of a volume above the limit of detection of a voxel"),
    Quantity("coefficient_of_variation", "%", "spread of a concentration beyond noise, over its mean"),
    Quantity("centroid_shift", "mm", "distance of the agent's centroid from the first scan with it"),
    Quantity("optoacoustic_signal", "[arb'U]", "reconstructed optoacoustic signal"),
    Quantity("speed_of_sound", "m/s", "speed of sound between detectors and subject"),
    Quantity("optical_absorption", "1/cm", "optical absorption coefficient, to base e"),
    Quantity("chromophore_concentration", "umol/L", "concentration of a component of the optical absorption"),
    Quantity("component_amplitude", "[arb'U]", "amount of a spectrum's component, up to a common factor"),
    Quantity("relative_fluence", "1", "light at a place over that at the surface"),
    Quantity("depth", "mm", "distance from the surface of the body"),
    Quantity("effective_attenuation", "1/cm", "attenuation of diffuse light"),
    Quantity("so2", "%", "blood oxygen saturation"),
    Quantity("delta_so2", "%", "change of blood oxygen saturation", signed_change=True),
    Quantity(
        "region_delta_so2",
        "%",
        "change of the oxygen saturation of a region's mean haemoglobin",
        signed_change=True,
    ),
    Quantity("gas_change", "s", "when the breathing gas was changed"),
    Quantity("thb", "umol/L", "total haemoglobin"),
    Quantity("relative_thb", "[arb'U]", "total haemoglobin, up to a common factor"),
    Quantity("dye_peak", None, "largest amount of the dye above the baseline"),
    Quantity("dye_rise", None, "mean slope from the arrival of the dye to its peak"),
    Quantity("dye_area", None, "area under the curve of the dye above the baseline"),
    Quantity("decay_rate", "1/s", "rate at which the tail of a curve decays"),
    Quantity("uptake_rate", "1/s", "rate at which the dye enters the tissue"),
    Quantity("half_life", "s", "time in which the tail of a curve halves"),
    Quantity("detected", "1", "1 where a component exceeds its limit of detection"),
    Quantity("responding", "1", "1 where a change exceeds two standard deviations of its baseline"),
    Quantity("region_so2", "%", "oxygen saturation of a region's mean haemoglobin"),
    Quantity("time_integrated_activity", "Bq.s/mL", "decays per volume of tissue, from injection on"),
    Quantity("tiac", "s", "decays in the region over the activity that was injected"),
    Quantity("tiac_per_g", "s/g", "decays per gram of tissue over the activity that was injected"),
    Quantity("tiac_per_ml", "s/mL", "decays per millilitre of tissue over the activity that was injected"),
    Quantity("effective_half_life", "s", "half-life of the activity in the last phase, decay included"),
    Quantity("biological_half_life", "s", "half-life of the last phase, without decay"),
    Quantity("id_per_g_at_injection", "%/g", "carrier per gram at the injection by the fitted curve"),
    Quantity("id_per_ml_at_injection", "%/mL", "carrier per millilitre at the injection by the fitted curve"),
    Quantity("id_per_region_at_injection", "%", "carrier in the region at the injection by the fitted curve"),
    Quantity("imaged_effective_half_life", "s", "effective half-life of the nuclide that was imaged"),
    Quantity("imaged_tiac", "s", "decays in the region of the nuclide imaged over what was injected"),
    Quantity("imaged_tiac_per_g", "s/g", "decays per gram of the nuclide imaged over what was injected"),
    Quantity("imaged_tiac_per_ml", "s/mL", "decays per mL of the nuclide imaged over what was injected"),
    Quantity("mean_residence_time", "s", "mean time from injection at which the decays happen"),
    Quantity("extrapolated_fraction", "%", "share of an area that is after the last sample"),
    Quantity("absorbed_dose", "Gy", "absorbed dose"),
    Quantity("absorbed_dose_rate", "Gy/s", "absorbed dose per time"),
    Quantity("absorbed_dose_per_activity", "Gy/MBq", "absorbed dose over the activity that is given"),
    Quantity("weighted_dose", "Gy", "dose weighted for its biological effect by a model that is not named"),
    Quantity("protraction_factor", "1", "effect of a dose given slowly over that of one given at once, G"),
    Quantity(
        "local_dose_per_activity",
        "Gy/MBq",
        "absorbed dose per injected activity where all but photons is absorbed at its place",
    ),
    Quantity(
        "self_dose_per_activity",
        "Gy/MBq",
        "absorbed dose per injected activity of a sphere of the region's mass from its own decays",
    ),
    Quantity("dose_at_volume", "Gy", "least absorbed dose in the hottest part of a region, D98, D50, D2"),
    Quantity("volume_at_dose", "%", "share of a region that has at least a dose, Vx"),
    Quantity("equivalent_uniform_dose", None, "generalised equivalent uniform dose"),
    Quantity(
        "biologically_effective_dose", "Gy", "dose of endless low-rate delivery with the same effect, BED"
    ),
    Quantity("equieffective_dose_2gy", "Gy", "dose in fractions of 2 Gy with the same effect, EQD2"),
    Quantity("uncorrected_mean", None, "mean of a region before it was corrected for partial volume"),
    Quantity("recovery_coefficient", "1", "share of its own signal that a region keeps"),
    Quantity("apparent_recovery", "1", "mean before the correction for partial volume over that after it"),
    Quantity("echo_intensity", "1", "echo power on a linear scale, of arbitrary reference"),
    Quantity("echo_level", "dB", "log-compressed echo level"),
    Quantity("echo_enhancement", "dB", "echo enhancement against baseline", signed_change=True),
    Quantity(
        "relative_echo_enhancement",
        "dB",
        "echo enhancement against baseline beyond that of the reference region",
        signed_change=True,
    ),
    Quantity("echo_ratio", "1", "echo power over that of the reference region"),
    Quantity("echo_gain", "1", "echo power after over echo power before"),
    Quantity("echo_baseline", "1", "echo power before the agent, of the fitted curve"),
    Quantity("echo_peak_enhancement", "1", "peak echo power above baseline, of the fitted curve"),
    Quantity("echo_enhancement_at_peak", "dB", "echo enhancement at the peak of the fitted curve"),
    Quantity("bolus_peak_time", "s", "when the fitted curve has its peak"),
    Quantity("mean_transit_time", "s", "mean transit time since arrival (t0)"),
    Quantity("mean_transit_time_from_ti", "s", "mean transit time since the rising tangent's foot (TI)"),
    Quantity("echo_area", "s", "area under the fitted curve of echo power above baseline"),
    Quantity("wash_in_area", "s", "area under the fitted curve from arrival (t0) to peak"),
    Quantity(
        "wash_in_area_from_ti", "s", "area under the fitted curve from the rising tangent's foot to peak"
    ),
    Quantity(
        "wash_out_area", "s", "area under the fitted curve from peak to the falling tangent's foot (TO)"
    ),
    Quantity("rise_time", "s", "time from the rising tangent's foot (TI) to peak"),
    Quantity("fall_time", "s", "time from peak to the falling tangent's foot (TO)"),
    Quantity("full_width_half_maximum", "s", "width of the fitted curve at half of its height"),
    Quantity("wash_in_rate", "1/s", "steepest rise of the fitted curve"),
    Quantity("wash_out_rate", "1/s", "steepest fall of the fitted curve", signed_change=True),
    Quantity("wash_in_perfusion_index", "1", "wash-in area from TI over rise time"),
    Quantity("echo_plateau", "1", "echo power to which a replenishing region returns, above its least"),
    Quantity("replenishment_rate", "1/s", "rate of replenishment after a destruction pulse"),
    Quantity("relative_flow", "1/s", "plateau times rate of replenishment, proportional to flow"),
    Quantity("peak_enhancement_ratio", "1", "peak enhancement over that of the reference region"),
    Quantity("wash_in_area_ratio", "1", "wash-in area over that of the reference region"),
    Quantity("wash_in_rate_ratio", "1", "wash-in rate over that of the reference region"),
    Quantity("relative_flow_ratio", "1", "relative flow over that of the reference region"),
    Quantity("sampled_arrival", "s", "arrival read off the samples, without a model"),
    Quantity("sampled_time_to_peak", "s", "time from arrival to peak read off the samples"),
    Quantity("sampled_peak_enhancement", "1", "peak echo power above baseline read off the samples"),
    Quantity("sampled_area", "s", "area of the samples above baseline, from arrival to the last one"),
    Quantity("sampled_wash_in_area", "s", "area of the samples above baseline, from arrival to peak"),
    Quantity("sampled_wash_out_area", "s", "area of the samples above baseline, from peak to the last one"),
    Quantity(
        "sampled_mean_transit_time", "s", "mean time since arrival of the samples' area, to the last one"
    ),
    Quantity("sampled_wash_in_rate", "1/s", "mean slope of the samples from arrival to peak"),
    Quantity("sampled_wash_out_rate", "1/s", "mean slope of the samples after the peak", signed_change=True),
    Quantity(
        "targeted_enhancement",
        "1",
        "mean echo power before a destruction pulse minus that after it",
        signed_change=True,
    ),
    Quantity("activation_temperature", "Cel", "temperature at which the echo has risen half way (T50)"),
    Quantity("activation_width", "Cel", "span of temperature over which the echo rises from 10 to 90 %"),
    Quantity(
        "superheat", "Cel", "activation temperature above the boiling point of the bulk", signed_change=True
    ),
    Quantity("log_compressed_grey", "[arb'U]", "log-compressed grey level, not linear in the echo"),
)

_POOL_QUANTITIES = {
    "chromophore_concentration": Quantity("chromophore_concentration", "umol/L", "concentration"),
    "component_amplitude": Quantity("component_amplitude", "[arb'U]", "amount, up to a common factor"),
    "region_ratio": Quantity("region_ratio", "1", "mean over that of another region"),
    "dose_at_volume": Quantity(
        "dose_at_volume", None, "least dose in so many percent of the region, the hottest ones"
    ),
    "volume_at_dose": Quantity("volume_at_dose", "%", "share of the region with at least that dose"),
    "voxel_detection_limit": Quantity(
        "voxel_detection_limit", None, "amount that is detected in a single voxel"
    ),
    "detected_share": Quantity("detected_share", "%", "share of the voxels in which it is detected"),
    "mass_concentration": Quantity("mass_concentration", "mg/mL", "mass concentration"),
    "volume_fraction": Quantity("volume_fraction", "1", "share of the volume that it fills"),
    "detection_limit": Quantity(
        "detection_limit", "mg/mL", "concentration of a region's mean that is detected"
    ),
    "quantification_limit": Quantity(
        "quantification_limit", "mg/mL", "concentration of a region's mean that is quantified"
    ),
    "amplitude": Quantity("amplitude", "%", "amplitude of the line"),
    "width": Quantity("width", "ppm", "full width at half maximum of the line"),
    "centre": Quantity("centre", "ppm", "centre of the line"),
    "arex": Quantity("arex", "1/s", "apparent exchange-dependent relaxation rate", signed_change=True),
    "exchange_rate": Quantity("exchange_rate", "1/s", "exchange rate with water"),
    "fraction": Quantity("fraction", "1", "protons as a fraction of water's"),
    "pool_concentration": Quantity("pool_concentration", "mmol/L", "concentration of the pool's carrier"),
    "pool_t1": Quantity("pool_t1", "s", "longitudinal relaxation time of the pool"),
    "pool_t2": Quantity("pool_t2", "s", "transverse relaxation time of the pool"),
}
_POOL_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


_ABBREVIATIONS = re.compile(r"\b(noe|mt|oh|nh|nh2|cr|pcr|icg|ir)(?=\d*\b)")

_FORMULAS = {
    formula.lower(): formula
    for formula in (
        "I",
        "Gd",
        "Hf",
        "HfO2",
        "Au",
        "Bi",
        "Bi2S3",
        "Fe",
        "Hb",
        "HbO2",
        "Fe3O4",
        "Ca",
        "Ba",
        "Ta",
        "W",
        "Yb",
    )
}


def pool_name_words(name: str) -> str:
    """The name of a pool or material in words: abbreviations and formulas as usual, no underscores.

    >>> pool_name_words("noe"), pool_name_words("amide_4_2"), pool_name_words("hfo2")
    ('NOE', 'amide 4 2', 'HfO2')
    """
    if name in _FORMULAS:
        return _FORMULAS[name]
    return _ABBREVIATIONS.sub(lambda found: found[0].upper(), name.lower().replace("_", " "))


class _Quantities(dict[str, Quantity]):
    """The quantities by name; those of a pool or material, such as ``amide_amplitude`` and
    ``hfo2_mass_concentration``, are made when they are asked for.

    Users name the pools of a Z-spectrum and the materials of a CT, so that these cannot be listed.
    """

    def __missing__(self, name: str) -> Quantity:
        for ending, record in _POOL_QUANTITIES.items():
            pool = name.removesuffix(f"_{ending}")
            if pool != name and _POOL_NAME.fullmatch(pool):
                words = f"{pool_name_words(pool)}: {record.description}"
                return replace(record, name=name, description=words)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def get(self, name: str, default: Any = None) -> Any:
        """The record of a quantity, or the default."""
        try:
            return self[name]
        except KeyError:
            return default


QUANTITIES: dict[str, Quantity] = _Quantities({quantity.name: quantity for quantity in _QUANTITIES})
"""Every quantity that a Volume may hold, by name."""


_AMOUNT = re.compile(r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµμ%\[]\S*)\s*$")


def canonical_unit(text: str) -> str:
    """The UCUM code of a unit as headers spell it; UnitMismatch when it is not in the table."""
    stripped = text.strip()
    if stripped in UNITS:
        return stripped
    code = _SPELLINGS.get(stripped.lower())
    if code is None:
        raise UnitMismatch(
            f"unit {text!r} is not known",
            needed="one of " + ", ".join(UNITS),
            next_step="give the values in one of these units",
        )
    return code


def is_hounsfield(text: str | None) -> bool:
    """Whether a text names Hounsfield units, as headers and sidecars spell them.

    >>> is_hounsfield("HU"), is_hounsfield("[hnsf'U]"), is_hounsfield("MGML"), is_hounsfield(None)
    (True, True, False, False)
    """
    return text is not None and _SPELLINGS.get(text.strip().lower()) == "[HU]"


def conversion_factor(from_unit: str, to_unit: str) -> float:
    """Factor that turns a value in `from_unit` into `to_unit`; UnitMismatch across dimensions.

    >>> conversion_factor("MBq", "Bq")
    1000000.0
    """
    source, target = UNITS[canonical_unit(from_unit)], UNITS[canonical_unit(to_unit)]
    if source.dimension != target.dimension:
        raise UnitMismatch(
            f"cannot convert {source.code} ({source.dimension}) to {target.code} ({target.dimension})",
            found=source.code,
            needed=target.code,
        )
    return source.factor / target.factor


def parse_amount(text: str, unit: str) -> float:
    """A number with its unit, converted to `unit`; UnitMismatch where the unit is missing or another kind.

    >>> parse_amount("8.1 MBq", "Bq")
    8100000.0
    """
    match = _AMOUNT.match(text)
    if match is None:
        raise UnitMismatch(f"{text!r} needs a number and a unit", needed=f"a unit such as {unit}")
    return float(match[1]) * conversion_factor(match[2], unit)


def check_quantity(quantity: str, unit: str) -> Quantity:
    """The quantity's record; UnitMismatch when the name is unknown or the unit is not its own."""
    record = QUANTITIES.get(quantity)
    if record is None:
        raise UnitMismatch(f"quantity {quantity!r} is not known", needed="one of " + ", ".join(QUANTITIES))
    if unit not in UNITS:
        raise UnitMismatch(f"unit {unit!r} is not in the unit table", needed="a UCUM code of the table")
    if record.unit is not None and record.unit != unit:
        raise UnitMismatch(
            f"{quantity} is given in {unit}", found=unit, needed=record.unit, next_step="convert it first"
        )
    return record
