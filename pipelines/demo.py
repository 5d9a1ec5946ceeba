"""The demonstration: two drawn heads with known lesions and a real CT, treated as any study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from shutil import copyfile

import numpy as np
from jaxtyping import Bool

from headclip_med.errors import HeadClipError
from headclip_med.geometry import Grid
from headclip_med.metrics import image_metrics
from headclip_med.models.model import AnomalyModel
from headclip_med.pipelines.batch import screen_inputs
from headclip_med.pipelines.work.report import BatchReport
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import find_inputs, read_volume
from headclip_med.synthetic.development import DevelopmentVolume, development_volume
from headclip_med.synthetic.magnetic import magnetic_volume
from headclip_med.write import SummaryRow
from headclip_med.write.dicom.series import write_ct_series, write_mr_series

CT_SEED, CT_KIND = 4, "bleeding"
MR_SEED, MR_KIND = 5, "infarct"
"""The next seed, and what MR is asked for most: neither was chosen by what a model makes of it."""

PHANTOM_SPACING_MM = (9.0, 230 / 112, 230 / 112)
REAL_SERIES = "data/test_files/dicomdirtests/98892001/CT5N"


@dataclass(frozen=True)
class KnownLesion:
    """How well the lesion of a drawn head was hit.

    Attributes:
        volume_mm3: Of the ground truth.
        auroc: Of the heatmap's voxels against the ground truth's.
        dice: Overlap of the voxels at or above the threshold with the ground truth, in [0, 1].
        candidates: How many candidates there are.
        candidates_on_it: How many of them have their centre within the lesion's bounding box.
        first_distance_mm: From the centre of the most suspicious candidate to the lesion's;
            None where nothing was found.
    """

    volume_mm3: float
    auroc: float
    dice: float
    candidates: int
    candidates_on_it: int
    first_distance_mm: float | None


@dataclass(frozen=True)
class Demonstration:
    """What the demonstration left to look at.

    Attributes:
        batch: Rows and files of all studies.
        drawn: The rows of the drawn heads, the CT first.
        lesions: How well the lesion of each was hit, in the same order.
    """

    batch: BatchReport
    drawn: tuple[SummaryRow, ...]
    lesions: tuple[KnownLesion, ...]


def demonstrate(
    model: AnomalyModel, out: Path, *, report: Callable[[int], None] = lambda slices: None
) -> Demonstration:
    """Write three studies, screen them, and compare with what is known.

    Args:
        model: What screens.
        out: Gets ``input/`` and ``results/``.
        report: Called with the number of slices done since the last call.

    Raises:
        HeadClipError: A drawn head could not be screened, for the reason given.
    """
    ct, mr = development_volume(CT_SEED, CT_KIND), magnetic_volume(MR_SEED, MR_KIND)
    ct_folder, mr_folder = out / "input/synthetic-head", out / "input/synthetic-mr"
    write_ct_series(ct_folder, ct.voxels_hu, phantom_grid(ct), study_seed="demo")
    write_mr_series(mr_folder, mr.voxels_hu, phantom_grid(mr), study_seed="demo MR")
    _copy_real_series(out / "input/real-ct")
    screener = Screener(model=model, out=out / "results", report=report)
    batch = screen_inputs(find_inputs([out / "input"]), screener)
    rows = tuple(_row_of(folder, batch) for folder in (ct_folder, mr_folder))
    lesions = tuple(
        compare(row, out / "results", one.lesion, phantom_grid(one))
        for row, one in zip(rows, (ct, mr), strict=True)
    )
    return Demonstration(batch, rows, lesions)


def _row_of(folder: Path, batch: BatchReport) -> SummaryRow:
    series = read_volume(folder).series_instance_uid
    row = next((row for row in batch.rows if row.series_instance_uid == series), None)
    if row is None:
        failed = next(one for one in batch.failures if one.input == series)
        raise HeadClipError(failed.reason, failed.what_to_do, code=failed.code)
    return row


def phantom_grid(phantom: DevelopmentVolume) -> Grid:
    """Place the phantom in the patient: axial slices from the feet up, its middle at the origin."""
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = PHANTOM_SPACING_MM
    affine[3, 3] = 1
    shape = phantom.voxels_hu.shape
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid.from_affine_lps(affine, shape=(shape[0], shape[1], shape[2]))


def compare(
    row: SummaryRow, results: Path, lesion: Bool[np.ndarray, "slices rows columns"], grid: Grid
) -> KnownLesion:
    """Compare the files that were written with a known lesion, in patient millimetres."""
    heatmap = read_volume(results / row.folder / row.outputs["heatmap"])
    index = np.argwhere(np.ones(heatmap.grid.shape, dtype=bool)).astype(float)
    inside = _is_lesion(lesion, grid, heatmap.grid.to_lps_mm(index)).reshape(heatmap.grid.shape)
    marked = heatmap.voxels >= row.threshold
    lesion_lps_mm = grid.to_lps_mm(np.argwhere(lesion).astype(float))
    low, high = lesion_lps_mm.min(axis=0), lesion_lps_mm.max(axis=0)
    centres = np.array([one.centre for one in row.lesions]).reshape(-1, 3)
    to_first = np.linalg.norm(centres[:1] - lesion_lps_mm.mean(axis=0), axis=1)
    return KnownLesion(
        volume_mm3=float((lesion * grid.voxel_volumes_mm3[:, None, None]).sum()),
        auroc=image_metrics(heatmap.voxels.ravel(), inside.ravel())["AUROC"],
        dice=2 * float((marked & inside).sum()) / float(marked.sum() + inside.sum()),
        candidates=len(centres),
        candidates_on_it=int(((centres >= low) & (centres <= high)).all(axis=1).sum()),
        first_distance_mm=float(to_first[0]) if len(to_first) else None,
    )


def _is_lesion(
    lesion: Bool[np.ndarray, "slices rows columns"], grid: Grid, points_lps_mm: np.ndarray
) -> Bool[np.ndarray, "points"]:
    """Look points of the patient up in the known lesion's own voxels."""
    homogeneous = np.c_[points_lps_mm, np.ones(len(points_lps_mm))]
    nearest = np.rint(homogeneous @ np.linalg.inv(grid.affine_lps).T)[:, :3].astype(int)
    within = ((nearest >= 0) & (nearest < lesion.shape)).all(axis=1)
    found = np.zeros(len(points_lps_mm), dtype=bool)
    found[within] = lesion[tuple(nearest[within].T)]
    return found


def _copy_real_series(folder: Path) -> None:
    """Copy the CT series that pydicom's package carries for its own tests."""
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(str(files("pydicom"))) / REAL_SERIES
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix != ".py":
            copyfile(path, folder / path.name)
