"""Numbers for Prometheus: right, and nobody's."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from headclip_med.pipelines.service.worklist.metrics import WorkCollector, exposition
from tests.service.worklist.filled import NOW, Filling, fill

HEAD = "CT, HEAD, window brain"


def numbers(filling: Filling) -> dict[tuple[str, ...], float]:
    text = exposition(WorkCollector(filling.database, filling.out, lambda: NOW)).decode()
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_numbers_are_those_of_the_database(tmp_path: Path) -> None:
    found = numbers(fill(tmp_path, with_files=False))
    free = found.pop(("headclip_disk_free_bytes",))
    assert free > 0
    states = {"queued": 2, "running": 1, "screened": 4, "quarantined": 1, "superseded": 1,
              "skipped": 0}  # fmt: skip
    assert found == {
        **{("headclip_jobs", state): count for state, count in states.items()},
        ("headclip_oldest_job_age_seconds", "queued"): 900,
        ("headclip_oldest_job_age_seconds", "running"): 900,
        ("headclip_attempts_total",): 10,
        ("headclip_quarantined", "uneven-spacing", "study"): 1,
        ("headclip_series_received_total", "receiver"): 9,
        ("headclip_last_received_timestamp_seconds", "receiver"): NOW - 991,
        ("headclip_deliveries", "pacs", "dead"): 1,
        ("headclip_deliveries", "pacs", "verified"): 1,
        ("headclip_delivery_attempts_total", "pacs"): 13,
        ("headclip_results_total",): 4,
        ("headclip_judged", HEAD): 3,
        ("headclip_flag_rate", HEAD): 1 / 3,
        ("headclip_high_p_share", HEAD): 2 / 3,
        ("headclip_calibration_stale", "MR, HEAD, window full"): 1,
        ("headclip_paused", "disk"): 1,
    }


def test_no_name_and_no_identifier_is_among_them(tmp_path: Path) -> None:
    filling = fill(tmp_path, with_files=False)
    filling.job("quarantined", name="Doe^John.dcm", failure="study", code="bad", reason="Doe^John")
    text = exposition(WorkCollector(filling.database, filling.out, lambda: NOW)).decode()
    for secret in ("Doe", "1.2.", "1.3.", "key-", "SCANNER"):
        assert secret not in text


def test_an_empty_database_has_numbers_too(tmp_path: Path) -> None:
    found = numbers(Filling(tmp_path))
    assert found["headclip_jobs", "queued"] == 0
    assert found["headclip_oldest_job_age_seconds", "queued"] == 0
    assert found["headclip_results_total",] == 0
