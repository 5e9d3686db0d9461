"""Exchange rate and fraction of a labelled pool as maps, from scans at several powers or durations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest import exchange
from imgtheranostics.cest.bloch_maps import Bounds, Free, fit_bloch
from imgtheranostics.cest.bloch_mcconnell import PoolSystem
from imgtheranostics.cest.constants import GAMMA_RAD_PER_S_UT, WATER_PROTON_CONCENTRATION_MM
from imgtheranostics.cest.contrast_plan import ContrastPlan
from imgtheranostics.cest.methods import EXCHANGE_METHODS, FORMS, METRICS, SIMULATION_METHOD
from imgtheranostics.cest.power_series import PowerSeries
from imgtheranostics.cest.prepared_spectra import CorrectionOptions, Handling
from imgtheranostics.cest.scan_sequences import Saturation
from imgtheranostics.cest.voxel_spectra import Array, VoxelCurves, VoxelMaps
from imgtheranostics.cest.water_t1 import WaterT1, water_t1
from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.estimates import STATED_SHARE, calculated_estimate
from imgtheranostics.mapping.refusals import UnknownChoice, applicable, checked, typed_refusals
from imgtheranostics.mapping.region_curves import region_places, typical_voxel
from imgtheranostics.mapping.voxels import Chosen
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume, make_step

FloatArray = npt.NDArray[np.float64]

_LINE_POINTS = 160

_PUBLISHED = Caution(
    "published-form",
    "QUESP of the asymmetry in its published form gives too low a rate where f k is not small beside R1: "
    "against the simulation in the steady state (k 1000/s, 20 mM of 2 protons, R1 0.5/s) k is 25 % low, with "
    "form 'labelled' 2 % low, with metric mtr_rex 0.5 % high; where water spills over (T2 45 ms, 9.8 ppm, "
    "11.7 T, 1 to 4 uT) 30 % low, 13 % low and 0.6 % high",
)
_CERTAIN = 2.0
"""Standard errors below 0 that make a contrast negative."""


def exchange_rate(
    scans: Volume | Sequence[Volume],
    *,
    method: str = "omega_plot",
    at_ppm: float | None = None,
    t1: Volume | Estimate | float | None = None,
    b1_ut: Sequence[float] | float | None = None,
    saturation_time_s: Sequence[float] | float | None = None,
    metric: str | None = None,
    form: str | None = None,
    protons: float | Mapping[str, float] | None = None,
    pools: PoolSystem | str | Path | None = None,
    sequence: Saturation | str | Path | Sequence[Saturation | str | Path] | None = None,
    free: Free | None = None,
    bounds: Bounds | None = None,
    **correction: Unpack[CorrectionOptions],
) -> dict[str, Estimate]:
    """Exchange rate and fraction of the pool at an offset from water, or of the pools of a simulation.

    Parameters
    ----------
    scans : Volume or sequence of Volume
        One scan for each power (``quest``: duration) of the saturation, on one grid; or one volume with an
        axis ``saturation_b1``.
    method : {"omega_plot", "hanes_woolf", "quesp", "quest", "bloch"}
        ``bloch`` fits simulated spectra to the measured ones and is
        `imgtheranostics.cest.bloch_maps.fit_bloch`, the most precise; one scan may do for it.
    at_ppm : float
        Offset of the pool from water; not for ``bloch``.
    t1 : Volume, Estimate or float, optional
        T1 of water: a map of T1 or R1, or one value in s; else the map that the sidecar names (T1Map).
    b1_ut : sequence of float, optional
        B1 of each scan as continuous-wave equivalent (``quest``: one value); by default what the files state.
    saturation_time_s : float or sequence of float, optional
        For ``quesp`` of MTRasym and for ``quest``; by default what the files state.
    metric : {"mtr_asym", "mtr_rex"}, optional
        What ``quesp`` fits, by default ``mtr_rex``, which direct saturation and MT do not dilute; the other
        methods have their own.
    form : {"published", "labelled"}, optional
        Of ``quesp`` of MTRasym, by default ``published``, which is low in the rate where f k is not small
        beside R1, as a caution says; see `imgtheranostics.cest.exchange.quesp`.
    protons : float, or mapping of str to float, optional
        Exchanging protons of one molecule (``bloch``: by pool): gives the concentration too.
    pools, sequence, free, bounds : optional
        For ``bloch``, as `imgtheranostics.cest.bloch_maps.fit_bloch` takes them.
    **correction
        As `imgtheranostics.cest.correction_maps.correct`, for each scan.

    Returns
    -------
    dict of str to Estimate
        ``exchange_rate`` in 1/s, ``labelled_fraction``, and with `protons` ``label_concentration`` in mmol/L;
        with ``bloch`` those of each pool, such as ``label_exchange_rate``. Voxels whose scans do not tell
        the rate are NaN and flagged as ill-conditioned.

    Raises
    ------
    MissingMetadata
        If B1 is not stated by its definition, or T1 or the duration are not known.
    UnsupportedInput
        If there are too few powers.
    GeometryMismatch, UnitMismatch, ImplausibleValue
    """
    of_bloch = {"pools": pools, "sequence": sequence, "free": free, "bounds": bounds}
    of_contrasts = {"at_ppm": at_ppm, "t1": t1, "b1_ut": b1_ut, "saturation_time_s": saturation_time_s}
    if method == SIMULATION_METHOD:
        applicable(_given(of_contrasts | {"metric": metric, "form": form}), (), "a fit of the simulation")
        return _by_simulation(scans, pools, sequence, free, protons, bounds, correction)
    checked(method, (*EXCHANGE_METHODS, SIMULATION_METHOD), "method")
    applicable(_given(of_bloch), (), f"the {method}")
    if at_ppm is None or isinstance(protons, Mapping):
        raise UnknownChoice(
            f"{method} needs the offset of the pool from water, at_ppm= (--at-ppm), and one number of protons"
        )
    plan = ExchangePlan.of(
        scans,
        Handling.of(correction),
        method=method,
        at_ppm=at_ppm,
        t1=t1,
        b1_ut=b1_ut,
        saturation_time_s=saturation_time_s,
        metric=metric,
        form=form,
        protons=protons,
    )
    return plan.estimates()


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _by_simulation(
    scans: Volume | Sequence[Volume],
    pools: PoolSystem | str | Path | None,
    sequence: Saturation | str | Path | Sequence[Saturation | str | Path] | None,
    free: Free | None,
    protons: float | Mapping[str, float] | None,
    bounds: Bounds | None,
    correction: CorrectionOptions,
) -> dict[str, Estimate]:
    """The fit of the simulation, once it is certain that it can be made."""
    if pools is None or free is None:
        raise UnknownChoice("method bloch needs pools= and free=: which pools there are and what is fitted")
    if protons is not None and not isinstance(protons, Mapping):
        raise UnknownChoice("method bloch takes protons= by pool, such as {'label': 2}")
    return fit_bloch(scans, pools, sequence, free=free, protons=protons, bounds=bounds, **correction)


@dataclass(frozen=True, eq=False)
class ExchangePlan:
    """The contrasts of several scans, ready to be fitted in voxels and regions.

    Attributes
    ----------
    contrasts : tuple of ContrastPlan
        One for each scan.
    method, metric, form : str
    series : PowerSeries
        Power and duration of each scan.
    t1 : WaterT1
    protons : float or None
    """

    contrasts: tuple[ContrastPlan, ...]
    method: str
    metric: str
    series: PowerSeries
    t1: WaterT1
    protons: float | None
    workers: int | None = None
    form: str = FORMS[0]

    @classmethod
    def of(
        cls,
        scans: Volume | Sequence[Volume],
        how: Handling,
        *,
        method: str = "omega_plot",
        at_ppm: float,
        t1: Volume | Estimate | float | None = None,
        b1_ut: Sequence[float] | float | None = None,
        saturation_time_s: Sequence[float] | float | None = None,
        metric: str | None = None,
        form: str | None = None,
        protons: float | None = None,
    ) -> ExchangePlan:
        """From scans and how each is handled; see `exchange_rate`."""
        checked(method, EXCHANGE_METHODS, "method")
        if metric is not None and method != "quesp":
            raise UnknownChoice(f"metric= (--metric) does not apply to {method}")
        own = "mtr_asym" if method == "quest" else "mtr_rex"
        contrast = checked(metric or own, METRICS, "metric")
        if form is not None and not (method == "quesp" and contrast == "mtr_asym"):
            raise UnknownChoice("form= (--form) is for quesp with metric mtr_asym")
        shape = checked(form or FORMS[0], FORMS, "form")
        if protons is not None and not (np.isfinite(protons) and protons > 0):
            raise UnknownChoice(f"protons must be a positive number, not {protons!r}")
        series = PowerSeries.of(
            scans,
            b1_ut=b1_ut,
            saturation_time_s=saturation_time_s,
            needs_time=method == "quest" or contrast == "mtr_asym",
            purpose=f"the {method.replace('_', ' ')}",
        )
        plans = tuple(ContrastPlan.of(scan, how, kind=contrast, at_ppm=at_ppm) for scan in series.scans)
        known = water_t1(t1, series.scans[0], purpose="an exchange rate")
        return cls(plans, method, contrast, series, known, protons, how.workers, shape)

    @property
    def chosen(self) -> Chosen:
        """Voxels that all scans have a spectrum of."""
        inside = np.logical_and.reduce([one.spectra.chosen.inside for one in self.contrasts])
        flags = np.bitwise_or.reduce([one.spectra.chosen.flags for one in self.contrasts])
        return Chosen(inside, np.asarray(flags, np.uint16), self.contrasts[0].spectra.chosen.decision)

    @cached_property
    def _samples(self) -> tuple[Array, Array]:
        """The contrast of each scan and its standard error, as fractions, (i, j, k, n)."""
        values, errors = (
            np.stack(
                [
                    np.asarray(getattr(one.fit, part)[self.metric])[..., 0] / one.scale
                    for one in self.contrasts
                ],
                axis=-1,
            )
            for part in ("parameters", "standard_errors")
        )
        return np.asfortranarray(values, np.float32), np.asfortranarray(errors, np.float32)

    @cached_property
    def fit(self) -> Fit:
        """Rate and fraction of every voxel."""
        values, errors = self._samples
        n = values.shape[-1]
        both = np.asfortranarray(np.concatenate([values, errors], axis=-1))
        field = self.contrasts[0].spectra.field
        maps: dict[str, Array | None] = {
            "r1": self.t1.rate_per_s,
            "r1_se": self.t1.rate_error_per_s,
            "field": None if field is None else field.ratio,
        }
        fit = VoxelCurves(both, self.chosen.inside).fitted(
            lambda samples, at: self._solve(samples[:, :n], samples[:, n:], at), **maps
        )
        lost = np.bitwise_or.reduce([np.bitwise_or.reduce(one.fit.flags, axis=-1) for one in self.contrasts])
        incomplete = ~np.isfinite(values).all(axis=-1)
        return replace(fit, flags=np.where(incomplete, fit.flags | lost, fit.flags).astype(np.uint16))

    def _solve(self, values: Array, errors: Array, maps: VoxelMaps) -> Fit:
        """The array level for some curves."""
        field = maps.get("field")
        known = bool(np.isfinite(errors).any())
        common: dict[str, Any] = {
            "r1_per_s": np.asarray(maps["r1"], np.float64),
            "r1_se_per_s": maps.get("r1_se"),
            "relative_b1": 1.0 if field is None else np.asarray(field, np.float64),
            "noise_sd": np.asarray(errors, np.float64) if known else None,
        }
        times = self.series.saturation_time_s
        b1 = self.series.b1_ut
        if self.method == "omega_plot":
            return exchange.omega_plot(values, b1_ut=b1, **common)
        if self.method == "hanes_woolf":
            return exchange.hanes_woolf(values, b1_ut=b1, **common)
        if self.method == "quest":
            return exchange.quest(
                values, saturation_time_s=np.asarray(times), b1_ut=b1, workers=self.workers, **common
            )
        metric: Any = self.metric
        common["form"] = self.form
        return exchange.quesp(
            values, b1_ut=b1, saturation_time_s=times, metric=metric, workers=self.workers, **common
        )

    @property
    def _of_asymmetry(self) -> bool:
        return self.method == "quesp" and self.metric == "mtr_asym"

    def decisions(self) -> dict[str, Any]:
        """For the record."""
        found = self.contrasts[0].decisions()
        found["exchange"] = {"rule": self.method, "metric": self.metric, **self.series.decision}
        if self._of_asymmetry:
            found["exchange"]["form"] = self.form
        found["t1"] = self.t1.decision
        if self.protons is not None:
            found["concentration"] = {
                "rule": "fraction x protons of water / protons of a molecule",
                "protons": float(self.protons),
                "water_protons_mmol_per_l": WATER_PROTON_CONCENTRATION_MM,
            }
        return found

    def all_warnings(self) -> tuple[Caution, ...]:
        """Those of all scans, of T1, of the form of QUESP and of the contrasts."""
        scans = (one.spectra.volume.warnings for one in self.contrasts[1:])
        plans = (one.all_warnings() for one in self.contrasts)
        form = (_PUBLISHED,) if self._of_asymmetry and self.form == "published" else ()
        return merge_cautions(*scans, *plans, self.t1.warnings, form, self._negative_contrast())

    def _negative_contrast(self) -> tuple[Caution, ...]:
        """A caution where the side without the label is the darker one, which gives no rate."""
        values, errors = (part[self.chosen.inside] for part in self._samples)
        with np.errstate(invalid="ignore"):
            negative = (values < -_CERTAIN * np.nan_to_num(errors)).any(axis=-1)
        if not negative.size or np.mean(negative) <= STATED_SHARE:
            return ()
        at = float(self.contrasts[0].at_ppm[0])
        message = (
            f"{self.metric} at {at:g} ppm is negative in {100 * np.mean(negative):.0f} % of the voxels: the "
            "background (NOE, MT) is stronger on the other side of water than the label, and no rate can be "
            "told there; a fit of the simulation (bloch) with these pools can"
        )
        return (Caution("negative-contrast", message, "--method"),)

    def estimates(self) -> dict[str, Estimate]:
        """The maps by quantity."""
        step = make_step("exchange_rate", method=self.method, at_ppm=float(self.contrasts[0].at_ppm[0]))
        found = {
            "exchange_rate": ("exchange_rate_per_s", self.fit),
            "labelled_fraction": ("fraction", self.fit),
        }
        if self.protons is not None:
            factor = WATER_PROTON_CONCENTRATION_MM / self.protons
            found["label_concentration"] = ("fraction", _scaled(self.fit, "fraction", factor))
        first = self.contrasts[0].spectra
        return {
            quantity: calculated_estimate(
                first.volume,
                fit,
                parameter,
                quantity,
                step,
                self.chosen,
                axes=(),
                decisions=self.decisions(),
                warnings=self.all_warnings(),
                beside=first.beside(step) if quantity == "exchange_rate" else None,
            )
            for quantity, (parameter, fit) in found.items()
        }

    def curves(self, regions: Regions | None) -> tuple[CurveFit, ...]:
        """The mean contrast of each region over power or duration, with the model."""
        values, errors = self._samples
        rate = np.asarray(self.fit.parameters["exchange_rate_per_s"]).ravel(order="F")
        i, j, k = self.chosen.inside.shape
        # voxels without a rate count too: where contrasts tell none, their mean shows why
        usable = np.isfinite(values).all(axis=-1).ravel(order="F") & self.chosen.inside.ravel(order="F")
        places = region_places(regions, usable)
        largest = values[..., -1].ravel(order="F")
        one = typical_voxel(regions, np.isfinite(rate), rate, (i, j, k))
        one = one or typical_voxel(regions, usable, largest, (i, j, k))
        planes, noise = (part.reshape(-1, part.shape[-1], order="F") for part in (values, errors))
        found = []
        for label, voxels in [*places, *([one] if one is not None else [])]:
            mean = planes[voxels].mean(axis=0, dtype=np.float64)
            error = np.sqrt(np.square(noise[voxels], dtype=np.float64).mean(axis=0) / voxels.size)
            found.append(self._curve(label, mean, error, voxels))
        return tuple(found)

    def _curve(
        self, label: str, measured: FloatArray, error: FloatArray, voxels: npt.NDArray[np.int64]
    ) -> CurveFit:
        r1 = float(np.nanmean(self.t1.rate_per_s.ravel(order="F")[voxels], dtype=np.float64))
        field = self.contrasts[0].spectra.field
        ratio = 1.0 if field is None else float(np.nanmean(field.ratio.ravel(order="F")[voxels]))
        maps: dict[str, Array | None] = {"r1": np.array([r1]), "field": np.array([ratio])}
        with typed_refusals():
            fit = self._solve(measured[np.newaxis], error[np.newaxis], maps)
        rate, fraction = (
            float(np.asarray(fit.parameters[n])[0]) for n in ("exchange_rate_per_s", "fraction")
        )
        axis, unit, x = self.series.axis
        line_x = np.linspace(0.0, 1.05 * float(x.max()), _LINE_POINTS)
        return CurveFit(
            label=label,
            quantity="exchange_rate",
            axis=axis,
            axis_unit=unit,
            x=x,
            measured=measured,
            fitted=self._model(x, rate, fraction, r1, ratio),
            line_x=line_x,
            line=self._model(line_x, rate, fraction, r1, ratio),
            unit="1",
            value=rate,
            standard_error=float(np.asarray(fit.standard_errors["exchange_rate_per_s"])[0]),
            n_voxels=int(voxels.size),
        )

    def _model(self, x: FloatArray, rate: float, fraction: float, r1: float, ratio: float) -> FloatArray:
        """The contrast over power in uT or duration in s."""
        series = self.series
        varies_time = series.axis[0] == "time"
        b1 = series.b1_ut[0] if varies_time else x
        power = (GAMMA_RAD_PER_S_UT * ratio * np.asarray(b1)) ** 2
        transfer = fraction * rate * power / (power + rate**2)
        if self.metric == "mtr_rex":
            return np.asarray(transfer / r1 + 0.0 * x)
        time = x if varies_time else np.interp(x, *series.times_over_b1())
        lost = r1 + (transfer if self.form == "labelled" else fraction * rate)
        return np.asarray(transfer / lost * (1.0 - np.exp(-lost * time)))


def _scaled(fit: Fit, name: str, factor: float) -> Fit:
    return replace(
        fit,
        parameters={name: np.asarray(fit.parameters[name]) * np.float32(factor)},
        standard_errors={name: np.asarray(fit.standard_errors[name]) * np.float32(factor)},
    )
