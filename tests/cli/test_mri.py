"""``mri`` commands on qMRI-BIDS folders and DICOM: numbers, files, wrong usage, exit code of each refusal."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.cli.main import main
from imgtheranostics.mri import relaxometry
from imgtheranostics.volume import Axis, Volume

SHAPE = (12, 10, 4)
AFFINE = np.array([[2.0, 0, 0, -12], [0, 2, 0, -10], [0, 0, 3, -6], [0, 0, 0, 1]])
ANGLES = np.array([2.0, 5.0, 10.0, 15.0, 20.0])
TR = 0.005
RECORD = MrAcquisition(field_strength_t=3.0, repetition_time_s=TR, echo_time_s=0.002)
T1 = np.full(SHAPE, 1.2)
T1[6:] = 0.6
LABELS = np.where(T1 > 1, 1, 2).astype(np.int16)


def spgr(t1_s, angle_deg, tr=TR, s0=1000.0):
    angle, e1 = np.radians(angle_deg), np.exp(-tr / t1_s)
    return s0 * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))


def write(path, data, sidecar):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.asarray(data, np.float32), AFFINE), path)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return path


def vfa_folder(folder, t1=T1, angles=ANGLES, **changes):
    """A qMRI-BIDS folder whose parameters are partly in the name, and one as text."""
    for n, angle in enumerate(angles, start=1):
        sidecar = {
            "FlipAngle": str(angle) if n == 1 else float(angle),
            "RepetitionTimeExcitation": TR,
            "EchoTime": 0.002,
            "MagneticFieldStrength": 3,
            **changes,
        }
        sidecar = {key: value for key, value in sidecar.items() if value is not None}
        write(folder / f"sub-01_flip-{n}_VFA.nii.gz", spgr(t1, angle), sidecar)
    return folder


@pytest.fixture(scope="module")
def rois(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rois")
    path = folder / "rois.nii.gz"
    nibabel.save(nibabel.Nifti1Image(LABELS, AFFINE), path)
    (folder / "rois.tsv").write_text("index\tname\n1\tbrain\n2\tmetastasis\n")
    return path


@pytest.fixture(scope="module")
def vfa(tmp_path_factory):
    return vfa_folder(tmp_path_factory.mktemp("vfa") / "anat")


def run(capsys, *words, code=0):
    assert main([str(word) for word in words]) == code, capsys.readouterr().err
    return capsys.readouterr()


def rows_of(capsys, *words):
    return json.loads(run(capsys, *words, "--json").out)["quantities"]


def refusal(capsys, *words, code):
    return run(capsys, *words, code=code).err


class TestT1:
    def test_the_same_number_by_command_line_python_and_arrays(self, vfa, rois, capsys):
        rows = rows_of(capsys, "mri", "t1", vfa, "--rois", rois)
        v = it.load(vfa)
        by_api = it.roi_statistics(it.mri.t1_map(v), it.load_rois(rois, like=v))
        data = np.stack([np.asarray(spgr(T1, angle), np.float32) for angle in ANGLES], axis=-1)
        by_array = relaxometry.fit_vfa(np.asfortranarray(data), ANGLES, TR).parameters["t1_s"]
        assert [row["region"] for row in rows] == by_api["region"].tolist()
        assert [row["mean"] for row in rows] == by_api["mean"].tolist()
        assert [row["mean"] for row in rows] == pytest.approx(
            [by_array[n == LABELS].mean(dtype=np.float64) for n in (1, 2)], rel=1e-6
        )
        assert [row["mean"] for row in rows] == pytest.approx([1.2, 0.6], rel=1e-4)
        assert {row["unit"] for row in rows} == {"s"}

    def test_dicom_gives_the_number_of_the_nifti(self, rois, tmp_path, capsys):
        data = np.stack([spgr(T1, angle) for angle in ANGLES], axis=-1)
        v = Volume(data, AFFINE, "signal", "[arb'U]", (Axis("flip_angle", ANGLES, "deg"),), RECORD)
        it.save(v, tmp_path / "dicom")
        rows = rows_of(capsys, "mri", "t1", tmp_path / "dicom", "--rois", rois)
        assert [row["mean"] for row in rows] == pytest.approx([1.2, 0.6], rel=3e-3)

    def test_the_output_folder_holds_maps_curves_and_record(self, vfa, rois, tmp_path, capsys):
        out = tmp_path / "out"
        run(capsys, "mri", "t1", vfa, "--rois", rois, "-o", out, "--rate")
        names = {path.name for path in out.iterdir()}
        assert {
            "t1.nii.gz", "t1.json", "t1_se.nii.gz", "t1_s0.nii.gz", "t1_r_squared.nii.gz", "t1_rmse.nii.gz",
            "t1_iterations.nii.gz", "r1.nii.gz", "r1_se.nii.gz", "flags.nii.gz", "quantities.tsv",
            "provenance.json", "report.html",
        } <= names  # fmt: skip
        figures = {path.name for path in (out / "figures").iterdir()}
        assert {"map_t1.svg", "fit_t1.svg", "fitted-curves_t1.svg"} <= figures
        record = json.loads((out / "provenance.json").read_text())
        assert record["decisions"]["method"]["rule"] == "nlls"
        assert record["parameters"]["rate"] is True
        assert len(record["inputs"]) == 2 * len(ANGLES) + 1, "images, sidecars and regions"
        r1 = it.load(out / "r1.nii.gz")
        assert r1.unit == "1/s"
        assert r1.data == pytest.approx(1 / T1, rel=1e-4)
        run(capsys, "mri", "t1", vfa, "-o", out, code=7)
        run(capsys, "mri", "t1", vfa, "-o", out, "--force", "--no-report")

    def test_a_map_of_the_field_in_percent_mask_and_method(self, vfa, rois, tmp_path, capsys):
        b1 = write(tmp_path / "sub-01_TB1map.nii.gz", np.full(SHAPE, 90.0), {"Units": "percent"})
        mask = write(tmp_path / "mask.nii.gz", LABELS == 1, {})
        rows = rows_of(
            capsys, "mri", "t1", vfa, "--b1", b1, "--mask", mask, "--method", "linear", "--rois", rois
        )
        # nominal angles made the signal, so a field of 0.9 gives T1 / 0.9^2 for small angles
        assert rows[0]["mean"] == pytest.approx(1.2 / 0.81, rel=0.01)
        assert rows[1]["n_valid"] == 0
        assert rows[1]["mean"] is None
        assert f"MASKED_OUT:{rows[1]['n_voxels']}" in rows[1]["flags"]
        assert "b1-in-percent" in rows[0]["warnings"]

    def test_a_double_angle_pair_serves_as_the_map(self, vfa, tmp_path, capsys):
        for n, angle in enumerate((60.0, 120.0), start=1):
            data = np.full(SHAPE, 500 * np.sin(np.radians(angle * 0.9)))
            write(tmp_path / "fmap" / f"sub-01_flip-{n}_TB1DAM.nii.gz", data, {"FlipAngle": angle})
        rows = rows_of(capsys, "mri", "t1", vfa, "--b1", tmp_path / "fmap")
        number = rows_of(capsys, "mri", "t1", vfa, "--b1", self.constant(tmp_path, 0.9))
        assert rows[0]["mean"] == pytest.approx(number[0]["mean"], rel=1e-5)
        assert rows[0]["mean"] != pytest.approx(0.9, rel=0.05), "the field changes T1"

    def constant(self, folder, level):
        return write(folder / "sub-01_TB1map.nii.gz", np.full(SHAPE, level), {})

    def test_nothing_of_a_person_or_a_path_reaches_the_output(self, tmp_path, capsys):
        """A canary in the header, in folder names and in options."""
        import pydicom

        data = np.stack([spgr(T1, angle) for angle in ANGLES], axis=-1)
        v = Volume(data, AFFINE, "signal", "[arb'U]", (Axis("flip_angle", ANGLES, "deg"),), RECORD)
        folder = tmp_path / "CANARY_JANE"
        it.save(v, folder)
        for path in folder.rglob("*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.PatientName, dataset.PatientID = "CANARY^JANE", "CANARY-7"
            dataset.SeriesDescription = "CANARY"
            dataset.save_as(path)
        maps = tmp_path / "CANARY_maps"
        b1 = self.constant(maps, 1.0)
        out = tmp_path / "out"
        found = run(capsys, "mri", "t1", folder, "--b1", b1, "-o", out, "--json")
        assert "CANARY" not in found.out.replace(str(tmp_path), "")
        assert "CANARY" not in found.err
        for path in out.rglob("*"):
            assert path.is_dir() or b"CANARY" not in path.read_bytes(), path.name

    def test_failed_voxels_are_counted_in_the_row_and_warned_of(self, rois, tmp_path, capsys):
        folder = vfa_folder(tmp_path / "anat")
        values = np.array(spgr(T1, ANGLES[1]))
        values[0] = 0.0
        write(
            folder / "sub-01_flip-2_VFA.nii.gz", values,
            json.loads((folder / "sub-01_flip-2_VFA.json").read_text()),
        )  # fmt: skip
        rows = rows_of(capsys, "mri", "t1", folder, "--rois", rois)
        assert rows[0]["n_valid"] == rows[0]["n_voxels"] - 40
        assert rows[0]["mean"] == pytest.approx(1.2, rel=1e-4)
        assert "many-failed-in-region" in rows[0]["warnings"]
        assert "many-failed-in-region" not in rows[1]["warnings"]

    def test_motion_of_one_image_is_taken_out_and_on_record(self, tmp_path, capsys):
        """A ball with two smaller ones inside; the third of five images lies two voxels further."""
        i, j, k = np.meshgrid(*(np.arange(n) for n in (32, 32, 20)), indexing="ij")
        t1 = np.full(i.shape, 1.0)
        t1[(i - 11) ** 2 + (j - 18) ** 2 + (k - 9) ** 2 < 20] = 0.3
        t1[(i - 20) ** 2 + (j - 13) ** 2 + (k - 11) ** 2 < 30] = 2.0
        ball = (i - 15) ** 2 + (j - 15) ** 2 + 2 * (k - 10) ** 2 < 130
        noise = np.random.default_rng(4).normal(0, 0.3, (*i.shape, 5))
        data = np.abs(np.stack([spgr(t1, angle) * ball for angle in ANGLES], axis=-1) + noise)
        data[..., 2] = np.roll(data[..., 2], 2, axis=0)
        v = Volume(data, np.diag([2.0, 2, 2, 1]), "signal", "[arb'U]", (Axis("flip_angle", ANGLES, "deg"),),
                   RECORD)  # fmt: skip
        it.save(v, tmp_path / "moved.nii.gz")
        whole = Volume((ball & (i > 8) & (i < 22)).astype(float), v.affine, "labels", "1")
        it.save(whole, tmp_path / "ball.nii.gz")
        words = ["mri", "t1", tmp_path / "moved.nii.gz", "--rois", tmp_path / "ball.nii.gz", "--json"]
        still = json.loads(run(capsys, *words, "--motion-correct").out)
        moved = json.loads(run(capsys, *words).out)
        truth = t1[whole.data > 0].mean()
        assert still["quantities"][0]["median"] == pytest.approx(1.0, rel=0.02)
        assert abs(still["quantities"][0]["mean"] - truth) < 0.05 * truth
        assert still["quantities"][0]["sd"] < moved["quantities"][0]["sd"]
        assert still["decisions"]["motion"]["n_corrected"] == 1
        assert still["decisions"]["motion"]["largest_displacement_mm"] == pytest.approx(4.0, abs=0.3)


class TestRefusals:
    def test_missing_repetition_time_is_5_and_can_be_given(self, tmp_path, capsys):
        folder = vfa_folder(tmp_path / "anat", RepetitionTimeExcitation=None)
        text = refusal(capsys, "mri", "t1", folder, code=5)
        assert "RepetitionTime (0018,0080)" in text
        assert "--repetition-time-s" in text
        run(capsys, "mri", "t1", folder, "--repetition-time-s", TR)

    def test_repetition_time_in_milliseconds_is_6(self, tmp_path, capsys):
        folder = vfa_folder(tmp_path / "anat", RepetitionTimeExcitation=5000.0)
        refusal(capsys, "mri", "t1", folder, code=6)

    def test_flip_angles_in_radians_are_6(self, tmp_path, capsys):
        folder = vfa_folder(tmp_path / "anat", angles=np.radians(ANGLES))
        assert "radians" in refusal(capsys, "mri", "t1", folder, code=6)

    def test_too_few_angles_are_4(self, tmp_path, capsys):
        folder = vfa_folder(tmp_path / "anat", angles=ANGLES[-1:])
        refusal(capsys, "mri", "t1", folder, code=4)

    def test_a_field_map_elsewhere_is_6(self, vfa, tmp_path, capsys):
        path = tmp_path / "sub-01_TB1map.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), AFFINE), path)
        path.with_name("sub-01_TB1map.json").write_text("{}")
        assert "--resample-b1" in refusal(capsys, "mri", "t1", vfa, "--b1", path, code=6)

    def test_a_mask_elsewhere_is_6(self, vfa, tmp_path, capsys):
        path = tmp_path / "mask.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), AFFINE), path)
        refusal(capsys, "mri", "t1", vfa, "--mask", path, code=6)

    def test_noise_that_cannot_be_estimated_is_4(self, vfa, capsys):
        refusal(capsys, "mri", "t1", vfa, "--noise-sd", "estimate", code=4)

    @pytest.mark.parametrize(
        "words",
        [
            ["t1"],
            ["t1", "{vfa}", "--method", "brix"],
            ["t1", "{vfa}", "--method", "magnitude"],
            ["t1", "{vfa}", "--noise-sd", "loud"],
            ["t1", "{vfa}", "--noise-sd", "-1"],
            ["t1", "{vfa}", "--n-coils", "0"],
            ["t1", "{vfa}", "--repetition-time-s", "soon"],
            ["t2star", "{vfa}", "--model", "epg"],
            ["enhancement", "{vfa}", "--baseline", "five"],
            ["enhancement", "{vfa}", "--baseline", "5:0"],
            ["enhancement", "{vfa}", "{vfa}", "--baseline", "0:1"],
            ["concentration", "{vfa}", "--unit", "g/L"],
            ["concentration", "{vfa}", "--contrast", "r3"],
            ["dce", "{vfa}", "--model", "brix"],
            ["dce", "{vfa}", "--aif", "region:artery"],
            ["dce", "{vfa}", "--t1", "-1", "--relaxivity", "4"],
            ["temperature", "{vfa}", "--drift-order", "7"],
            ["temperature", "{vfa}", "--iron-mg-ml", "1"],
            ["t3", "{vfa}"],
        ],
    )
    def test_wrong_usage_is_2(self, words, vfa, capsys):
        assert main(["mri", *(word.format(vfa=vfa) for word in words)]) == 2
        assert "Usage" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "command", ["t1", "t2", "t2star", "enhancement", "concentration", "dce", "temperature"]
    )
    def test_a_missing_path_is_3_and_help_is_0(self, command, tmp_path, capsys):
        assert main(["mri", command, str(tmp_path / "absent")]) == 3
        capsys.readouterr()
        assert main(["mri", command, "--help"]) == 0
        out = capsys.readouterr().out
        assert "--rois" in out
        assert "--json" in out

    def test_a_refusal_is_one_json_object(self, tmp_path, capsys):
        folder = vfa_folder(tmp_path / "anat", RepetitionTimeExcitation=None)
        out = run(capsys, "mri", "t1", folder, "--json", code=5).out
        fault = json.loads(out)["error"]
        assert fault["type"] == "MissingMetadata"
        assert "--repetition-time-s" in fault["next"]


class TestEchoes:
    ECHOES = np.array([0.002 + 0.003 * n for n in range(8)])

    def folder(self, folder, times, suffix, component=None):
        for n, echo in enumerate(self.ECHOES, start=1):
            sidecar = {"EchoTime": echo, "RepetitionTime": 0.5, "MagneticFieldStrength": 1.5}
            data = 800 * np.exp(-echo / times)
            write(folder / f"sub-01_echo-{n}_{suffix}.nii.gz", data, sidecar)
        return folder

    def test_t2star_and_its_rate_of_a_multi_echo_folder(self, rois, tmp_path, capsys):
        times = np.where(LABELS == 1, 0.02, 0.01)
        folder = self.folder(tmp_path / "anat", times, "MEGRE")
        rows = rows_of(capsys, "mri", "t2star", folder, "--rois", rois, "--rate", "--noise-sd", "0")
        assert [(row["quantity"], row["unit"]) for row in rows] == [("t2star", "s")] * 2 + [
            ("r2star", "1/s")
        ] * 2
        assert [row["mean"] for row in rows] == pytest.approx([0.02, 0.01, 50, 100], rel=1e-3)

    def test_t2_of_a_spin_echo_folder(self, rois, tmp_path, capsys):
        folder = self.folder(tmp_path / "anat", np.where(LABELS == 1, 0.05, 0.03), "MESE")
        rows = rows_of(capsys, "mri", "t2", folder, "--rois", rois, "--drop-first")
        assert [row["mean"] for row in rows] == pytest.approx([0.05, 0.03], rel=1e-3)

    def test_iron_of_two_multi_echo_scans(self, rois, tmp_path, capsys):
        """Ferumoxytol in plasma at 1.5 T, r2* 64.4 per mmol/L."""
        before = self.folder(tmp_path / "pre", np.full(SHAPE, 1 / 30.0), "MEGRE")
        iron = np.where(LABELS == 1, 0.5, 1.0)
        after = self.folder(tmp_path / "post", 1 / (30.0 + 64.4 * iron), "MEGRE")
        words = ["mri", "concentration", after, "--pre", before, "--agent", "ferumoxytol", "--rois", rois]
        rows = rows_of(capsys, *words, "--medium", "plasma", "--noise-sd", "0")
        assert {row["quantity"] for row in rows} == {"fe_concentration"}
        assert [row["mean"] for row in rows] == pytest.approx([0.5, 1.0], rel=2e-3)
        assert rows[1]["standard_error"] == pytest.approx(2.5 / 64.4, rel=0.05)
        refusal(capsys, *words, "--noise-sd", "0", code=5)

    def test_a_noise_floor_without_noise_is_4(self, tmp_path, capsys):
        folder = self.folder(tmp_path / "anat", np.full(SHAPE, 0.02), "MEGRE")
        text = refusal(capsys, "mri", "t2star", folder, "--model", "noise_floor", code=4)
        assert "--noise-sd" in text


class TestEnhancement:
    SIDECAR = {"RepetitionTime": 0.008, "EchoTime": 0.003, "FlipAngle": 15, "MagneticFieldStrength": 3}  # noqa: RUF012

    def images(self, folder, after=1.5, **changes):
        pre = write(folder / "pre_T1w.nii.gz", np.where(LABELS == 1, 200.0, 100.0), self.SIDECAR)
        post = write(
            folder / "post_T1w.nii.gz", np.where(LABELS == 1, 200.0, 100.0 * after),
            {**self.SIDECAR, **changes},
        )  # fmt: skip
        return pre, post

    def test_percent_of_the_first_scan(self, rois, tmp_path, capsys):
        pre, post = self.images(tmp_path)
        rows = rows_of(capsys, "mri", "enhancement", pre, post, "--rois", rois, "--noise-sd", "2")
        assert [row["mean"] for row in rows] == pytest.approx([0.0, 50.0], abs=1e-3)
        assert {row["unit"] for row in rows} == {"%"}

    def test_both_scans_may_be_series_of_one_folder(self, rois, tmp_path, capsys):
        self.images(tmp_path)
        words = ["mri", "enhancement", "--rois", rois, "--noise-sd", "2", "--series", 2]
        rows = rows_of(capsys, *words, tmp_path, tmp_path, "--post-series", 1)
        assert [row["mean"] for row in rows] == pytest.approx([0.0, 50.0], abs=1e-3)
        assert "--post-series" in refusal(capsys, *words, tmp_path, "--post-series", 1, code=2)

    def test_another_protocol_is_6(self, tmp_path, capsys):
        pre, post = self.images(tmp_path, FlipAngle=20)
        assert "flip angle" in refusal(capsys, "mri", "enhancement", pre, post, code=6)

    def test_a_series_without_its_baseline_is_5(self, tmp_path, capsys):
        path = self.series(tmp_path)
        assert "--baseline" in refusal(capsys, "mri", "enhancement", path, code=5)

    def series(self, folder):
        time = np.arange(12) * 10.0
        curve = 100 + 60 * np.clip((time - 40) / 20, 0, 1)
        v = Volume(
            np.broadcast_to(curve, (*SHAPE, 12)), AFFINE, "signal", "[arb'U]", (Axis("time", time, "s"),),
            replace(RECORD, flip_angle_deg=15.0),
        )  # fmt: skip
        it.save(v, folder / "dynamic.nii.gz")
        return folder / "dynamic.nii.gz"

    def test_a_series_and_its_time_intensity_parameters(self, rois, tmp_path, capsys):
        path = self.series(tmp_path)
        words = ["mri", "enhancement", path, "--baseline", "0:4", "--rois", rois, "--noise-sd", "1"]
        rows = rows_of(capsys, *words, "--time-intensity")
        last = [row for row in rows if row["quantity"] == "enhancement" and row["axis_value"] == 110.0]
        assert [row["mean"] for row in last] == pytest.approx([60.0, 60.0], rel=1e-3)
        arrival = [row["mean"] for row in rows if row["quantity"] == "bolus_arrival"]
        assert arrival == pytest.approx([40.0, 40.0], abs=1.0)


class TestConcentration:
    def test_t1_maps_as_files_with_their_errors(self, vfa, rois, tmp_path, capsys):
        """r1 8.9 per Gd at 3 T (AGuIX): 0.1 mmol/L more in each region."""
        after = vfa_folder(tmp_path / "post", t1=1 / (1 / T1 + 8.9 * 0.1))
        one = write(tmp_path / "sub-01_TB1map.nii.gz", np.ones(SHAPE), {})
        for name, folder in (("pre", vfa), ("post", after)):
            run(capsys, "mri", "t1", folder, "--b1", one, "-o", tmp_path / f"{name}-t1", "--no-report")
        by_maps = rows_of(
            capsys, "mri", "concentration", tmp_path / "post-t1" / "t1.nii.gz",
            "--pre", tmp_path / "pre-t1" / "t1.nii.gz", "--agent", "AGuIX", "--rois", rois,
        )  # fmt: skip
        by_series = rows_of(
            capsys, "mri", "concentration", after, "--pre", vfa, "--agent", "AGuIX", "--rois", rois,
            "--b1", one,
        )  # fmt: skip
        assert [row["mean"] for row in by_maps] == pytest.approx([0.1, 0.1], rel=2e-3)
        assert [row["mean"] for row in by_maps] == pytest.approx([row["mean"] for row in by_series], rel=1e-5)
        assert "map-without-error" not in by_maps[0]["warnings"]
        v, w = it.load(after), it.load(vfa)
        estimate = it.mri.concentration(v, w, agent="AGuIX", b1=it.load(one))
        by_api = it.roi_statistics(estimate, it.load_rois(rois, like=v))
        assert [row["mean"] for row in by_series] == by_api["mean"].tolist()

    def test_two_signals_and_one_t1(self, rois, tmp_path, capsys):
        sidecar = {"RepetitionTime": 0.008, "EchoTime": 0.003, "FlipAngle": 15, "MagneticFieldStrength": 3}
        pre = write(tmp_path / "pre_T1w.nii.gz", np.full(SHAPE, spgr(1.4, 15, 0.008)), sidecar)
        post = write(
            tmp_path / "post_T1w.nii.gz", np.full(SHAPE, spgr(1 / (1 / 1.4 + 8.9 * 0.06), 15, 0.008)), sidecar
        )
        words = ["mri", "concentration", post, "--pre", pre, "--agent", "aguix", "--t1", "1.4"]
        rows = rows_of(capsys, *words, "--rois", rois)
        assert [row["mean"] for row in rows] == pytest.approx([0.06, 0.06], rel=1e-3)
        mass = rows_of(capsys, *words, "--unit", "mg/mL")
        assert (mass[0]["quantity"], mass[0]["unit"]) == ("concentration", "mg/mL")
        assert mass[0]["mean"] == pytest.approx(0.06 * 0.15725, rel=1e-3)
        assert "--t1" in refusal(capsys, *words[:-2], code=5)
        assert "neither the agent" in refusal(capsys, *words[:5], "--t1", "1.4", code=5)
        refusal(capsys, *words[:5], "--t1", "1.4", "--agent", "unobtainium", code=3)

    def test_an_unknown_field_is_5_and_can_be_given(self, tmp_path, capsys):
        t1 = write(tmp_path / "post_T1map.nii.gz", np.full(SHAPE, 0.5), {"Units": "s"})
        words = ["mri", "concentration", t1, "--pre", "1.0", "--agent", "aguix"]
        assert "--field-t" in refusal(capsys, *words, code=5)
        rows = rows_of(capsys, *words, "--field-t", "3")
        assert rows[0]["mean"] == pytest.approx(1 / 8.9, rel=1e-4)
        assert "0.5" not in refusal(capsys, *words, "--field-t", "4.7", code=5).split("found")[0]
        given = rows_of(
            capsys, *words[:-2], "--relaxivity", "5", "--relaxivity-uncertainty", "0.5", "--per", "Gd"
        )
        assert given[0]["mean"] == pytest.approx(0.2, rel=1e-4)
        assert given[0]["quantity"] == "gd_concentration"


class TestPerfusion:
    TIME = np.arange(0.0, 240.0, 4.0)

    def test_patlak_with_a_table_and_its_curves(self, rois, tmp_path, capsys):
        curve = 0.05 + 0.02 / 60.0 * self.TIME
        v = Volume(
            np.broadcast_to(curve, (*SHAPE, self.TIME.size)), AFFINE, "gd_concentration", "mmol/L",
            (Axis("time", self.TIME, "s"),), RECORD,
        )  # fmt: skip
        it.save(v, tmp_path / "mm.nii.gz")
        table = tmp_path / "aif.csv"
        table.write_text("time_s,plasma_mm\n" + "\n".join(f"{t},1.0" for t in self.TIME))
        words = ["mri", "dce", tmp_path / "mm.nii.gz", "--model", "patlak", "--aif", table, "--rois", rois]
        out = tmp_path / "out"
        run(capsys, *words, "-o", out)
        assert (out / "figures" / "fitted-curves_ps.svg").is_file()
        assert (out / "ps.nii.gz").is_file()
        rows = rows_of(capsys, *words)
        assert [row["mean"] for row in rows if row["quantity"] == "ps"] == pytest.approx([0.02] * 2, rel=1e-3)
        assert [row["mean"] for row in rows if row["quantity"] == "vp"] == pytest.approx([0.05] * 2, rel=1e-3)
        refusal(capsys, *words[:4], "patlak", "--aif", "parkr", code=3)
        table.write_text("time_s,blood_mm\n" + "\n".join(f"{t},1.0" for t in self.TIME))
        assert "--haematocrit" in refusal(capsys, *words, code=5)


class TestTemperature:
    def test_degrees_dose_and_heated_volume(self, rois, tmp_path, capsys):
        """0.08026 rad/Cel at 3 T and 10 ms (mri.md); 6 Cel in the second region."""
        time = np.arange(10) * 30.0
        rise = np.where((LABELS == 2)[..., None] & (time > 0), 6.0, 0.0)
        record = replace(RECORD, echo_time_s=0.01, image_component="PHASE")
        v = Volume(-0.08026 * rise, AFFINE, "phase", "rad", (Axis("time", time, "s"),), record)
        it.save(v, tmp_path / "phase.nii.gz")
        words = ["mri", "temperature", tmp_path / "phase.nii.gz", "--rois", rois]
        rows = rows_of(capsys, *words, "--start-c", "37", "--above-c", "41")
        last = [
            row["mean"]
            for row in rows
            if row["quantity"] == "temperature_change" and row["axis_value"] == time[-1]
        ]
        assert last == pytest.approx([0.0, 6.0], abs=0.01)
        dose = [row["mean"] for row in rows if row["quantity"] == "cem43"]
        assert dose[1] == pytest.approx(4.0, abs=0.5)
        volume = [
            row["mean"] for row in rows if row["quantity"] == "heated_volume" and row["axis_value"] == 270.0
        ]
        assert volume == pytest.approx([0.0, 240 * 0.012])
        silent = v.replace(acquisition=replace(record, echo_time_s=None))
        it.save(silent, tmp_path / "silent.nii.gz")
        assert "--echo-time-s" in refusal(capsys, "mri", "temperature", tmp_path / "silent.nii.gz", code=5)

    def test_what_is_no_phase_is_6(self, vfa, capsys):
        refusal(capsys, "mri", "temperature", vfa, code=6)
