"""Mixed models: several measurements of one subject, lesions inside patients, animals inside groups."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue
from imgtheranostics.study.findings import Finding, Interval, check_level
from imgtheranostics.study.samples import (
    DoubleArray,
    IntArray,
    Rows,
    Units,
    codes,
    common_unit,
    complete_rows,
    require,
    require_spread,
)
from imgtheranostics.study.statsmodels_extra import from_statsmodels


@dataclass(frozen=True, eq=False)
class TermTest:
    """F test of all coefficients of one term together.

    Attributes
    ----------
    term : str
    statistic : float
    freedom, rest_freedom : int
    p_value : float
    """

    term: str
    statistic: float
    freedom: int
    rest_freedom: int
    p_value: float


@dataclass(frozen=True, eq=False)
class MixedModel:
    """A mixed model with a random intercept of each subject.

    Attributes
    ----------
    coefficients : mapping of str to Finding
        Fixed effects by name, such as ``group[B]`` against the first label; ratios when `logarithmic`.
    tests : mapping of str to TermTest
        Of each term and interaction.
    between_sd, within_sd : float
        Of subjects, and of measurements of one subject; of logarithms when `logarithmic`.
    intraclass_correlation : float
        Of measurements of one subject, and with `nested` of different parts of it.
    n_subjects, n_measurements, left_out : int
    unit : str
    logarithmic : bool
    warnings : tuple of Caution
    nested_sd : float
        Of parts of one subject, such as its lesions; NaN without them.
    n_nested : int
        Parts, of all subjects together.
    """

    coefficients: Mapping[str, Finding]
    tests: Mapping[str, TermTest]
    between_sd: float
    within_sd: float
    intraclass_correlation: float
    n_subjects: int
    n_measurements: int
    left_out: int
    unit: str
    logarithmic: bool
    warnings: tuple[Caution, ...]
    nested_sd: float = math.nan
    n_nested: int = 0


@dataclass(frozen=True)
class _Column:
    """One column of the design: its name, the term it belongs to, and the columns it is the product of."""

    name: str
    term: str
    values: DoubleArray
    factors: tuple[str, ...] = ()


def mixed_model(
    value: npt.ArrayLike,
    fixed: Mapping[str, npt.ArrayLike],
    subject: npt.ArrayLike,
    *,
    interactions: Sequence[tuple[str, str]] = (),
    nested: npt.ArrayLike | None = None,
    logarithmic: bool = False,
    level: float = 0.95,
    unit: Units = "1",
) -> MixedModel:
    """Fixed effects over measurements of which several are of one subject, by REML.

    Needs the extra ``stats`` (statsmodels). Intervals and p values use Student's t and F with degrees of
    freedom of subjects for what differs between subjects, and of measurements for what changes within
    them [1]_: the normal distribution would call too much significant with 12 animals.

    Parameters
    ----------
    value : (n,) array_like
        One per measurement (lesion, time point); NaN is left out and counted.
    fixed : mapping of str to (n,) array_like
        Terms by name: numbers are slopes, text or booleans are factors, compared with their first label.
    subject : (n,) array_like
        Label of the patient or animal of each measurement.
    interactions : sequence of (str, str)
        Pairs of terms.
    nested : (n,) array_like, optional
        Label of the part of the subject, such as the lesion, where parts were measured more than once; the
        same label in two subjects is two parts. Parts then have a random intercept of their own.
    logarithmic : bool
        Model the logarithm of `value`; estimates are ratios.
    level : float
    unit : str or sequence of str
        Of `value`.

    Raises
    ------
    ValueError
        If a term is unknown, a factor has one level, or columns differ in length.
    IllConditioned
        For too few subjects, no subject (or part of one) with two measurements, terms that repeat each
        other, or a fit that does not converge.
    ImplausibleValue, UnitMismatch
        For values not above zero with `logarithmic`, infinite values, or mixed units.
    UnsupportedInput
        Without statsmodels.

    References
    ----------
    .. [1] Schluchter, Elashoff, J. Stat. Comput. Simul. 37 (1990) 69 (between-within degrees of freedom).
    """
    check_level(level)
    spelled = common_unit(unit, "value")
    models = from_statsmodels("regression.mixed_linear_model", "a mixed model")
    rows, members, parts, terms = _read(value, fixed, subject, nested)
    response = _response(rows["value"], logarithmic)
    columns = _columns(rows, terms, interactions)
    design = np.column_stack([column.values for column in columns])
    _require_rank(design)
    found = _fitted(models, response, design, members, parts)
    freedoms = _freedoms(design, members, parts)
    beta, covariance = found.fe_params, found.cov_params()[: design.shape[1], : design.shape[1]]
    between, within = float(np.asarray(found.cov_re)[0, 0]), float(found.scale)
    of_parts = 0.0 if parts is None else float(found.vcomp[0])
    n_subjects = int(members.max()) + 1
    cautions = [*rows.warnings]
    if between <= 1e-6 * within:
        cautions.append(Caution("no-subject-variance", "subjects do not differ beyond their measurements"))
    coefficients = {
        column.name: _coefficient(
            column.name, float(beta[place]), math.sqrt(covariance[place, place]), freedoms[place], n_subjects,
            level, spelled, logarithmic, rows,
        )
        for place, column in enumerate(columns)
    }  # fmt: skip
    return MixedModel(
        coefficients=coefficients,
        tests=_tests(columns, beta, covariance, freedoms),
        between_sd=math.sqrt(max(between, 0.0)),
        within_sd=math.sqrt(within),
        intraclass_correlation=between / (between + of_parts + within),
        n_subjects=n_subjects,
        n_measurements=rows.n,
        left_out=rows.left_out,
        unit=spelled,
        logarithmic=logarithmic,
        warnings=tuple(cautions),
        nested_sd=math.nan if parts is None else math.sqrt(max(of_parts, 0.0)),
        n_nested=0 if parts is None else int(parts.max()) + 1,
    )


def _read(
    value: npt.ArrayLike,
    fixed: Mapping[str, npt.ArrayLike],
    subject: npt.ArrayLike,
    nested: npt.ArrayLike | None,
) -> tuple[Rows, IntArray, IntArray | None, dict[str, list[str] | None]]:
    """Complete rows, the subject and the part of it of each, and the labels of the factors."""
    if {"value", "subject", "intercept", "nested"} & set(fixed) or any(
        ":" in name or "[" in name for name in fixed
    ):
        raise ValueError(
            "terms must not be named value, subject, nested or intercept, nor contain ':' or '['"
        )
    read: dict[str, npt.ArrayLike] = {}
    labels: dict[str, list[str] | None] = {}
    for name, given in fixed.items():
        if np.asarray(given).dtype.kind in "iuf":
            read[name], labels[name] = given, None
        else:
            numbers, labels[name] = codes(given, name)
            read[name] = np.where(numbers < 0, np.nan, numbers)
    for name, units in (("subject", subject), ("nested", nested)):
        if units is not None:
            numbers, _ = codes(units, name)
            read[name] = np.where(numbers < 0, np.nan, numbers)
    rows = complete_rows({"value": value, **read}, smallest=6)
    members = np.unique(rows["subject"], return_inverse=True)[1].astype(np.int64)
    require(int(members.max()) + 1, 4, "subjects", "subject")
    if np.bincount(members).max() < 2:
        raise IllConditioned(
            "every subject was measured once: there is nothing to tell subjects from measurements",
            where="subject",
            needed="subjects with two or more measurements",
            next_step="use spearman or two_way",
        )
    if nested is None:
        return rows, members, None, labels
    pairs = np.column_stack([members, rows["nested"].astype(np.int64)])
    parts = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    if np.bincount(parts).max() < 2:
        raise IllConditioned(
            "every part of a subject was measured once: there is nothing to tell parts from measurements",
            where="nested",
            needed="parts, such as lesions, with two or more measurements",
            next_step="leave nested out",
        )
    return rows, members, parts, labels


def _response(value: DoubleArray, logarithmic: bool) -> DoubleArray:
    require_spread(value, "value")
    if not logarithmic:
        return value
    if (value <= 0.0).any():
        raise ImplausibleValue(
            f"value is not above zero in {np.count_nonzero(value <= 0.0)} rows",
            where="value",
            needed="values above zero for their logarithm",
            next_step="give logarithmic=False, or check these scans",
        )
    return np.log(value)


def _columns(
    rows: Rows, terms: Mapping[str, list[str] | None], interactions: Sequence[tuple[str, str]]
) -> list[_Column]:
    made: dict[str, list[_Column]] = {}
    for name, labels in terms.items():
        if labels is None:
            require_spread(rows[name], name)
            made[name] = [_Column(name, name, rows[name])]
            continue
        present = np.unique(rows[name]).astype(int)
        if present.size < 2:
            raise ValueError(f"factor {name} has one level only")
        made[name] = [
            _Column(f"{name}[{labels[one]}]", name, (rows[name] == one).astype(np.float64))
            for one in present[1:]
        ]
    columns = [_Column("intercept", "intercept", np.ones(rows.n))]
    columns += [column for found in made.values() for column in found]
    for one, other in interactions:
        if one not in made or other not in made:
            raise ValueError(f"interaction {one}:{other} names a term that is not among {', '.join(made)}")
        columns += [
            _Column(f"{a.name}:{b.name}", f"{one}:{other}", a.values * b.values, (a.name, b.name))
            for a in made[one]
            for b in made[other]
        ]
    return columns


def _require_rank(design: DoubleArray) -> None:
    scaled = design / np.maximum(np.abs(design).max(axis=0), np.finfo(float).tiny)
    if np.linalg.matrix_rank(scaled, tol=1e-9 * len(design)) < design.shape[1]:
        raise IllConditioned(
            "terms of the model repeat each other, or a combination of labels has no measurement",
            where="fixed",
            needed="terms of which none follows from the others",
            next_step="leave a term or an interaction out",
        )


def _fitted(
    models: Any, response: DoubleArray, design: DoubleArray, members: IntArray, parts: IntArray | None
) -> Any:
    random: dict[str, Any] = {}
    if parts is not None:
        random = {"exog_re": np.ones((len(response), 1)), "exog_vc": _parts(models, members, parts)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for method in ("lbfgs", "powell"):
            try:
                model = models.MixedLM(response, design, groups=members, **random)
                found = model.fit(reml=True, method=method)
            except (np.linalg.LinAlgError, ValueError):
                continue
            if found.converged and np.isfinite(np.asarray(found.bse_fe)).all():
                return found
    raise IllConditioned(
        "the mixed model does not converge",
        where="value",
        needed="measurements that scatter within subjects",
        next_step="use fewer terms, or means of subjects",
    )


def _parts(models: Any, members: IntArray, parts: IntArray) -> Any:
    """Indicators of the parts of each subject, as statsmodels wants them: one matrix per subject."""
    names, matrices = [], []
    for one in range(int(members.max()) + 1):
        own = parts[members == one]
        present = np.unique(own)
        names.append([str(part) for part in present])
        matrices.append((own[:, None] == present).astype(np.float64))
    return models.VCSpec(["part"], [names], [matrices])


def _freedoms(design: DoubleArray, members: IntArray, parts: IntArray | None) -> list[int]:
    """Degrees of freedom by column: of subjects where it is constant in each, else of measurements."""
    n_subjects = int(members.max()) + 1
    n_parts = n_subjects if parts is None else int(parts.max()) + 1
    sizes = np.bincount(members)
    inner = np.column_stack([column - (np.bincount(members, column) / sizes)[members] for column in design.T])
    varies = np.abs(inner).max(axis=0) > 1e-9 * np.maximum(np.abs(design).max(axis=0), 1e-300)
    between = n_subjects - int(np.count_nonzero(~varies))
    within = len(design) - n_parts - int(np.count_nonzero(varies))
    require(between, 1, "subjects for the terms between them", "subject")
    if varies.any():
        require(within, 1, "measurements for the terms within subjects", "value")
    return [within if one else between for one in varies]


def _coefficient(
    name: str,
    beta: float,
    error: float,
    freedom: int,
    n: int,
    level: float,
    unit: str,
    logarithmic: bool,
    rows: Rows,
) -> Finding:
    from scipy.stats import t

    half = float(t.ppf(0.5 + level / 2, freedom)) * error
    limits = [beta, beta - half, beta + half]
    if logarithmic:
        limits = [math.exp(min(limit, 700.0)) for limit in limits]
    return Finding(
        measure=f"{'ratio' if logarithmic else 'effect'} of {name}",
        estimate=limits[0],
        interval=Interval(limits[1], limits[2]),
        p_value=float(2 * t.sf(abs(beta) / error, freedom)),
        n=n,
        method=f"mixed model, REML, random intercepts of subjects; t with {freedom} degrees of freedom",
        unit="1" if logarithmic and name != "intercept" else unit,
        level=level,
        assumed=("subjects are independent", "errors are normal, alike in all subjects and at all times"),
        left_out=rows.left_out,
        warnings=rows.warnings,
    )


def _tests(
    columns: list[_Column], beta: DoubleArray, covariance: DoubleArray, freedoms: list[int]
) -> dict[str, TermTest]:
    """F of each term after all others, at the average of what it interacts with (effect coding)."""
    from scipy.stats import f

    centred = _effect_coded(columns)
    change = np.linalg.lstsq(centred, np.column_stack([column.values for column in columns]), rcond=None)[0]
    moved, spread = change @ beta, change @ covariance @ change.T
    tests = {}
    for term in dict.fromkeys(column.term for column in columns if column.term != "intercept"):
        places = [place for place, column in enumerate(columns) if column.term == term]
        part = moved[places]
        statistic = float(part @ np.linalg.solve(spread[np.ix_(places, places)], part)) / len(places)
        rest = min(freedoms[place] for place in places)
        tests[term] = TermTest(term, statistic, len(places), rest, float(f.sf(statistic, len(places), rest)))
    return tests


def _effect_coded(columns: list[_Column]) -> DoubleArray:
    """The same model with factors that add up to zero over their labels, and slopes at the mean."""
    single: dict[str, DoubleArray] = {}
    for column in columns:
        if column.factors or column.term == "intercept":
            continue
        if column.name == column.term:
            single[column.name] = column.values - column.values.mean()
            continue
        others = sum(one.values for one in columns if one.term == column.term)
        single[column.name] = column.values - (1.0 - others)
    parts = []
    for column in columns:
        product = np.ones_like(column.values)
        for name in column.factors or (() if column.term == "intercept" else (column.name,)):
            product = product * single[name]
        parts.append(product)
    return np.column_stack(parts)
