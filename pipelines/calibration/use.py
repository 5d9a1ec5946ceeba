"""A calibration in use: each score is judged by normal studies of its own kind, or by none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headclip_med.calibration import CalibrationUsed, Stratum, Uncalibrated
from headclip_med.findings import SCORING_VERSION, Screening
from headclip_med.metrics.drift import Drift, watch
from headclip_med.pipelines.calibration.file import Binding, Calibration, Normals
from headclip_med.settings import DriftSettings
from headclip_med.write import SummaryRow
from headclip_med.write.result import rounded


@dataclass(frozen=True)
class Calibrator:
    """Gives scores their p-values, or says why there is none.

    Attributes:
        calibration: As it was read; it never changes.
        site: Where the studies that are judged come from, as their normal studies name it.
        stale: Strata whose p-values drifted.
    """

    calibration: Calibration
    site: str | None = None
    stale: frozenset[Stratum] = frozenset()

    def of(self, found: Screening) -> CalibrationUsed:
        """Judge the score of a screening."""
        volume = found.volume
        stratum = Stratum(volume.modality, volume.body_part, found.window.name, self.site)
        binding = Binding.of(found.model, found.settings, SCORING_VERSION)
        return self.judge(found.score, stratum, binding)

    def of_result(self, result: Mapping[str, Any]) -> CalibrationUsed:
        """Judge the score of a result.json.

        Raises:
            KeyError: It lacks what it must have.
        """
        binding = Binding.of(result["model"], result["settings"], result["scoring_version"])
        return self.judge(result["score"], stratum_of(result, self.site), binding)

    def judge(self, score: float, stratum: Stratum, binding: Binding) -> CalibrationUsed:
        """Judge a score by the normal studies of its stratum.

        Args:
            score: In [0, 1]; six decimals count, as in results and among the normal studies.
            stratum: Of the study.
            binding: What the score follows from.
        """
        digest, alpha = self.calibration.digest, self.calibration.alpha
        normals = self.calibration.find(stratum)
        code = self._why_not(normals, binding)
        if code is not None or normals is None:
            return CalibrationUsed(code, stratum, digest)
        p_value = normals.known.p_value(rounded(score))
        studies = len(normals.scores)
        return CalibrationUsed(
            code=None,
            stratum=stratum,
            digest=digest,
            p_value=p_value,
            higher=round(p_value * (studies + 1)) - 1,
            studies=studies,
            alpha=alpha,
            rate=normals.known.true_rate(alpha),
            flagged=normals.known.flags(rounded(score), alpha),
        )

    def _why_not(self, normals: Normals | None, binding: Binding) -> Uncalibrated | None:
        if normals is None:
            return "no-stratum"
        bound = normals.binding
        if bound.scoring != binding.scoring:
            return "other-scoring"
        if bound.model != binding.model:
            return "other-model"
        if bound.settings != binding.settings:
            return "other-settings"
        return "stale" if normals.stratum in self.stale else None


def stratum_of(result: Mapping[str, Any], site: str | None) -> Stratum:
    """Tell what kind of study a result.json is of."""
    given = result["input"]
    return Stratum(given["modality"], given["body_part"], given["window"]["name"], site)


def watch_rows(
    calibration: Calibration, rows: Iterable[SummaryRow], settings: DriftSettings | None = None
) -> dict[Stratum, Drift]:
    """Watch the p-values that a calibration gave; it stays as it is.

    Args:
        calibration: That gave them; rows that another judged, or none, do not count.
        rows: In the order in which they were screened. A study counts where its first series came,
            with the least p-value of its series in a stratum.
        settings: Of the windows.

    Returns:
        What each stratum shows; those that ``is_stale`` belong into ``Calibrator.stale``.
    """
    least: dict[Stratum, dict[str, float]] = {one.stratum: {} for one in calibration.strata}
    for row in rows:
        used, study = row.calibration, row.folder.partition("/")[0]
        if used.p_value is not None and used.stratum in least and used.digest == calibration.digest:
            studies = least[used.stratum]
            studies[study] = min(used.p_value, studies.get(study, 1.0))
    return {
        one.stratum: watch([*least[one.stratum].values()], one.known, calibration.alpha, settings)
        for one in calibration.strata
    }
