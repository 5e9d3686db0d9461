"""Blind components of mixtures that were made: spectra and maps up to order and scale."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.errors import NothingUsable
from imgtheranostics.msot.blind_unmixing import blind_unmix
from imgtheranostics.msot.spectra import molar_extinction

WAVELENGTHS = np.arange(700.0, 881.0, 20.0)
NAMES = ["Hb", "HbO2", "ICG"]


def mixture(rng, *, n=4000, noise=0.005):
    """Sparse amounts, so that each component stands nearly alone somewhere; columns of the length one."""
    columns = np.stack([molar_extinction(name, WAVELENGTHS) for name in NAMES], axis=1)
    columns = columns / np.linalg.norm(columns, axis=0)
    amounts = rng.exponential(1.0, (n, 3)) * (rng.random((n, 3)) < 0.4)
    return amounts @ columns.T + noise * rng.standard_normal((n, 10))


def test_non_negative_factors_find_the_spectra_that_were_mixed(rng):
    """Factors are unique where each spectrum is zero at a wavelength at which the others are not."""
    lines = {
        name: np.maximum(1 - ((WAVELENGTHS - centre) / width) ** 2, 0)
        for name, centre, width in (("a", 720, 50), ("b", 790, 60), ("c", 850, 55))
    }
    amounts = rng.exponential(1.0, (4000, 3)) * (rng.random((4000, 3)) < 0.4)
    spectra = amounts @ np.stack(list(lines.values())) + 0.003 * rng.standard_normal((4000, 10))
    found = blind_unmix(spectra, WAVELENGTHS, 3)
    likeness = found.similarity(lines)
    which = likeness.argmax(axis=0)
    assert sorted(which) == [0, 1, 2]
    assert (likeness[which, range(3)] > 0.99).all()
    for k, one in enumerate(which):
        assert np.corrcoef(found.amounts[:, one], amounts[:, k])[0, 1] > 0.99
    assert found.converged


def test_non_negative_factors_explain_what_spectra_that_overlap_make(rng):
    spectra = mixture(rng)
    found = blind_unmix(spectra, WAVELENGTHS, 3)
    assert (found.spectra >= 0).all()
    assert (found.amounts >= 0).all()
    assert found.explained > 0.9995
    assert blind_unmix(spectra, WAVELENGTHS, 1).explained < 0.95


def test_independent_components_find_the_maps_that_were_mixed(rng):
    sources = rng.uniform(-1, 1, (6000, 3)) ** 3
    mixing = np.linalg.qr(rng.standard_normal((10, 3)))[0]
    found = blind_unmix(5 + sources @ mixing.T, WAVELENGTHS, 3, method="ica")
    likeness = np.abs(np.corrcoef(found.amounts.T, sources.T)[:3, 3:])
    assert (likeness.max(axis=0) > 0.99).all()
    assert sorted(likeness.argmax(axis=0)) == [0, 1, 2]
    np.testing.assert_allclose(found.mean, 5 + (sources @ mixing.T).mean(axis=0))
    assert found.converged
    assert found.explained == pytest.approx(1.0)


@pytest.mark.parametrize("method", ["nmf", "ica"])
def test_results_are_labelled_as_exploration_and_repeat(rng, method):
    spectra = mixture(rng, n=600)
    first, again = (blind_unmix(spectra, WAVELENGTHS, 2, method=method, rng=3) for _ in range(2))
    assert first.warnings[0].code == "exploratory"
    np.testing.assert_array_equal(first.spectra, again.spectra)
    order = rng.permutation(10)
    turned = blind_unmix(spectra[:, order], WAVELENGTHS[order], 2, method=method, rng=3)
    np.testing.assert_allclose(turned.spectra, first.spectra[:, order], atol=1e-9)
    np.testing.assert_allclose(turned.amounts, first.amounts, atol=1e-8)


def test_an_iteration_that_is_cut_short_says_so(rng):
    found = blind_unmix(mixture(rng, n=600), WAVELENGTHS, 3, max_iterations=2)
    assert not found.converged
    assert [caution.code for caution in found.warnings] == ["exploratory", "not-converged"]


def test_voxels_without_a_spectrum_and_outside_the_mask_are_left_out(rng):
    spectra = mixture(rng, n=600).reshape(20, 30, 10)
    spectra[0, 0, 4] = np.nan
    mask = np.ones((20, 30), bool)
    mask[5] = False
    found = blind_unmix(spectra, WAVELENGTHS, 3, mask=mask)
    assert found.amounts.shape == (20, 30, 3)
    assert np.isnan(found.amounts[0, 0]).all()
    assert np.isnan(found.amounts[5]).all()
    assert np.isfinite(found.amounts[6:]).all()


def test_what_cannot_be_explored_is_refused(rng):
    spectra = mixture(rng, n=600)
    with pytest.raises(ValueError, match="n_components must be 1 to 10"):
        blind_unmix(spectra, WAVELENGTHS, 11)
    with pytest.raises(ValueError, match="method must be one of nmf, ica"):
        blind_unmix(spectra, WAVELENGTHS, 2, method="pca")
    with pytest.raises(NothingUsable, match="too few voxels"):
        blind_unmix(spectra[:5], WAVELENGTHS, 2)
    with pytest.raises(NothingUsable, match="vary in fewer ways"):
        blind_unmix(np.outer(np.arange(50.0), np.ones(10)), WAVELENGTHS, 2, method="ica")
