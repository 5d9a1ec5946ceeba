"""The worklist that is asked for: which entries, in which order, on which page, in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from headclip_med.errors import InvalidSettings
from headclip_med.pipelines.service.database.tables import DeliveryEntry, ResultEntry
from headclip_med.pipelines.service.worklist.entries import lasting, moment
from headclip_med.pipelines.service.worklist.queries import (
    entry_of_result,
    every,
    find,
    pauses,
    stale_strata,
)
from headclip_med.pipelines.service.worklist.wanted import Wanted
from tests.service.worklist.filled import NOW, Filling, fill, judged


def jobs(filling: Filling, **wanted: object) -> list[int]:
    with filling.database.read() as session:
        found = find(session, Wanted(**wanted), NOW)  # type: ignore[arg-type]
        assert found.entries == tuple(every(session, Wanted(**wanted), NOW))  # type: ignore[arg-type]
        return [entry.job for entry in found.entries]


@pytest.fixture
def filling(tmp_path: Path) -> Filling:
    return fill(tmp_path, with_files=False)


def test_suspicion_is_p_where_there_is_one_and_else_the_score(tmp_path: Path) -> None:
    filling = Filling(tmp_path)
    filling.result(0.3, judged(0.9))
    filling.result(0.9)
    filling.result(0.2, judged(0.05))  # of another kind: its score is low, and it is rare
    filling.result(0.8, judged(0.01))
    filling.result(0.5)
    filling.job("queued")
    # Flagged by p, then what has no p by score, then what is not flagged, then what has no result.
    assert jobs(filling) == [4, 3, 2, 5, 1, 6]
    assert jobs(filling, is_reversed=True) == [6, 1, 5, 2, 3, 4]
    assert jobs(filling, sort="score") == [2, 4, 5, 1, 3, 6]
    assert jobs(filling, sort="p") == [4, 3, 1, 2, 5, 6]
    # What is missing stays last the other way round.
    assert jobs(filling, sort="p", is_reversed=True) == [1, 3, 4, 5, 2, 6]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"state": "quarantined"}, [8]),
        ({"state": "superseded"}, [9]),
        ({"state": "all"}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"judged": "flagged"}, [1]),
        ({"judged": "not-flagged"}, [3, 4]),
        ({"judged": "uncalibrated"}, [2]),
        ({"modality": "MR"}, [8]),
        ({"delivery": "dead"}, [4]),
        ({"delivery": "verified"}, [1]),
        ({"text": "UNEVEN"}, [8]),
        ({"text": "1.3.5"}, [5]),
        ({"text": "%"}, []),
        ({"text": "_"}, []),
        ({"sort": "received", "state": "screened"}, [4, 3, 2, 1]),
        ({"sort": "modality", "per_page": 3}, [2, 1, 3]),
    ],
)
def test_filters_and_orders(
    filling: Filling, wanted: dict[str, object], expected: list[int]
) -> None:
    with filling.database.read() as session:
        found = find(session, Wanted(**wanted), NOW).entries  # type: ignore[arg-type]
    assert [entry.job for entry in found] == expected


def test_pages_come_from_the_database_and_a_page_too_far_is_the_last(tmp_path: Path) -> None:
    filling = Filling(tmp_path)
    for number in range(5):
        filling.result(number / 10)
    with filling.database.read() as session:
        second = find(session, Wanted(per_page=2, page=2), NOW)
        last = find(session, Wanted(per_page=2, page=99), NOW)
        none = find(session, Wanted(text="nothing like that"), NOW)
    assert [entry.job for entry in second.entries] == [3, 2]
    assert (second.total, second.page, second.pages, second.first_rank) == (5, 2, 3, 3)
    assert [entry.job for entry in last.entries] == [1]
    assert last.page == 3
    assert (none.entries, none.total, none.pages) == ((), 0, 1)


def test_a_later_result_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    filling = Filling(tmp_path)
    filling.result(0.9)
    later = filling.result(0.4)
    with filling.database.write() as session:
        earlier = session.get(ResultEntry, 1)
        assert earlier is not None
        earlier.superseded_by = later
    assert jobs(filling) == [2]
    assert jobs(filling, state="screened") == [1, 2]
    with filling.database.read() as session:
        first = find(session, Wanted(state="all"), NOW).entries[0]
    assert first.is_superseded
    assert not first.can_be_resent
    assert first.words == "a later result stands for it"


def test_states_reasons_and_times_are_said_in_words(filling: Filling) -> None:
    filling.add(
        DeliveryEntry(result_id=2, destination="pacs", attempts=3, not_before=NOW + 90,
                      reason="It does not answer.")
    )  # fmt: skip
    with filling.database.read() as session:
        found = {one.job: one for one in find(session, Wanted(state="all"), NOW).entries}
        paused = pauses(session, NOW)
        assert [(one.cause, lasts) for one, lasts in paused] == [("disk", "2 minutes")]
        assert stale_strata(session) == ["MR, HEAD, window full"]
    assert {number: one.words for number, one in found.items()} == {
        1: "finished 11 minutes ago",
        2: "finished 11 minutes ago",
        3: "finished 11 minutes ago",
        4: "finished 11 minutes ago",
        5: "begun 13 minutes ago",
        6: "for 15 minutes",
        7: "attempt 2 follows in 4 minutes",
        8: "after 3 attempts; tried again on request only",
        9: "a later revision came before it was screened",
    }
    assert found[7].next_attempt == NOW + 240
    assert (found[8].code, found[8].reason) == ("uneven-spacing", "Its slices form no stack.")
    assert [number for number, one in found.items() if one.can_be_retried] == [8]
    assert [sent.words for number in (1, 2, 4) for sent in found[number].deliveries] == [
        "there: verified 8 minutes ago",
        "failed 3 times, next attempt in 1 minute: It does not answer.",
        "given up after 12 attempts: It does not answer.",
    ]


def test_a_row_comes_back_as_it_was_stored(filling: Filling) -> None:
    with filling.database.read() as session:
        first = find(session, Wanted(), NOW).entries[0]
    assert first.row is not None
    assert first.used == judged(0.005)
    assert first.row.lesions[0].slices == (0, 2)
    assert (first.used.sentence() or "").startswith("p = 0.005: 0 of 199 normal studies")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (1, "1 second"), (59.4, "59 seconds"), (60, "1 minute"), (3600, "1 hour"),
     (7300, "2 hours"), (90_000, "1 day"), (-5, "0 seconds")],
)  # fmt: skip
def test_a_time_is_said_in_its_largest_unit(seconds: float, words: str) -> None:
    assert lasting(float(seconds)) == words


def test_a_moment_is_utc() -> None:
    assert moment(0.9) == "1970-01-01T00:00:00+00:00"
    assert moment(None) is None


def test_an_address_says_what_is_wanted_and_back() -> None:
    wanted = Wanted(state="quarantined", text="a&b=c", is_reversed=True, page=3, per_page=20)
    address = wanted.to_address()
    given = {"state": "quarantined", "text": "a&b=c", "is_reversed": "yes", "page": "3",
             "per_page": "20", "modality": ""}  # fmt: skip
    assert Wanted.of_address(given) == wanted
    assert address == "?state=quarantined&text=a%26b%3Dc&is_reversed=yes&page=3&per_page=20"
    assert wanted.to_address(page=1).endswith("is_reversed=yes&per_page=20")
    assert Wanted().to_address() == "?"


@pytest.mark.parametrize(
    "given", [{"page": "x"}, {"page": "0"}, {"state": "gone"}, {"per_page": "5000"}, {"x": "1"}]
)
def test_an_address_that_asks_for_what_there_is_not_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings):
        Wanted.of_address(given)


@pytest.mark.slow  # ten thousand entries are written
def test_ten_thousand_entries_are_paged_without_reading_them_all(tmp_path: Path) -> None:
    filling = Filling(tmp_path)
    first = filling.result(0.5)
    with filling.database.write() as session:
        entry = session.get(ResultEntry, first)
        assert entry is not None
        plain = {c.name: getattr(entry, c.name) for c in ResultEntry.__table__.columns}
        series = {c.name: getattr(entry.job.series, c.name)
                  for c in type(entry.job.series).__table__.columns}  # fmt: skip
        job = {c.name: getattr(entry.job, c.name) for c in type(entry.job).__table__.columns}
        for number in range(2, 10_001):
            key = {"id": number}
            session.add(type(entry.job.series)(**{**series, **key, "key": f"k{number}"}))
            session.add(type(entry.job)(**{**job, **key, "series_id": number}))
            session.add(ResultEntry(**{**plain, **key, "job_id": number, "score": number / 20_000}))
    with filling.database.read() as session:
        found = find(session, Wanted(page=200), NOW)
        assert len(session.identity_map) < 400
    assert (found.total, found.pages, found.first_rank) == (10_000, 200, 9_951)


def test_a_series_that_was_screened_again_stands_once_with_its_newest_result(
    tmp_path: Path,
) -> None:
    filling = Filling(tmp_path)
    filling.result(0.9)
    with filling.database.write() as session:
        first = session.get(ResultEntry, 1)
        assert first is not None
        plain = {one.name: getattr(first, one.name) for one in ResultEntry.__table__.columns}
        session.add(ResultEntry(**{**plain, "id": 2, "score": 0.1, "folder": "again"}))
        session.flush()
        first.superseded_by = 2
    with filling.database.read() as session:
        found = find(session, Wanted(), NOW)
        earlier = entry_of_result(session, 1, NOW)
    assert (found.total, [one.result for one in found.entries]) == (1, [2])
    assert found.entries[0].folder == "again"
    assert earlier is not None
    assert (earlier.folder, earlier.is_superseded) == ("1.2.1/1.3.1", True)
