"""The page's answers: what they show, what they refuse, and how they are closed."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from headclip_med.errors import InvalidSettings
from headclip_med.pipelines.service.database.tables import AuditEntry, JobEntry, ResultEntry
from headclip_med.pipelines.service.worklist.page import worklist_app
from headclip_med.pipelines.service.worklist.settings import PageSettings
from headclip_med.write.pages.frame import script_of, style_of
from tests.service.worklist.filled import NOW, Filling, add_view, fill

SECRET = "sixteen-letters-or-more"  # noqa: S105 - of nobody


@pytest.fixture
def filling(tmp_path: Path) -> Filling:
    return fill(tmp_path / "out")


@pytest.fixture
def client(filling: Filling) -> Iterator[TestClient]:
    app = worklist_app(filling.database, filling.out, clock=lambda: NOW)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as found:
        yield found


def passwords(folder: Path, text: str = f"anna:{SECRET}\n", mode: int = 0o600) -> str:
    path = folder / "passwords"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def token_of(client: TestClient, **more: dict[str, str]) -> str:
    found = re.search('name="token" value="([0-9a-f]{64})"', client.get("/", **more).text)  # type: ignore[arg-type]
    assert found is not None
    return found.group(1)


def test_the_page_says_what_was_found_and_where_everything_is(client: TestClient) -> None:
    text = client.get("/").text
    for words in (
        "Research use only.",
        "p = 0.005: 0 of 199 normal studies like this one",
        "Flagged.",
        "after 3 attempts; tried again on request only",
        "Its slices form no stack. Send all slices again.",
        "attempt 2 follows in 4 minutes",
        "there: verified 8 minutes ago",
        "given up after 12 attempts: It does not answer.",
        "Paused for 2 minutes (disk).",
        "Calibration stale: MR, HEAD, window full.",
        "8 entries, 1 to 8 shown",
        "screened by version 1</div>",  # which is not the one that runs
    ):
        assert words in text, words
    assert text.index("1.3.1<") < text.index("1.3.2<") < text.index("1.3.4<") < text.index("1.3.8<")


def test_every_answer_is_closed_and_no_script_may_run(client: TestClient) -> None:
    for path in ("/", "/health", "/nothing", "/results/1/overlay", "/?state=unknown"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; img-src 'self'; style-src 'sha256-")
        assert "script" not in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
    text = client.get("/").text
    assert "<script" not in text
    assert " style=" not in text


def test_hostile_names_stay_text(filling: Filling, client: TestClient) -> None:
    filling.job("queued", name="<script>alert(1)</script>\u202egnp.x")
    text = client.get("/").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;gnp.x" in text
    assert "<script>" not in text
    text = client.get("/", params={"text": '"><b>'}).text
    assert 'value="&#34;&gt;&lt;b&gt;"' in text


def test_what_failed_is_tried_again_and_whoever_asked_stands_in_the_audit(
    filling: Filling, client: TestClient
) -> None:
    form = {"token": token_of(client), "number": "8", "action": "retry", "back": "?state=all"}
    done = client.post("/act", data=form)
    assert (done.status_code, done.headers["location"]) == (303, "/?state=all&retry=1")
    assert "It is tried again." in client.get(done.headers["location"]).text
    with filling.database.read() as session:
        job = session.get(JobEntry, 8)
        assert job is not None
        assert (job.state, job.attempts) == ("queued", 0)
        asked = session.query(AuditEntry).filter_by(event="retry-asked").one()
        assert (asked.peer, asked.facts) == ("local", {"numbers": [8]})
    again = client.post("/act", data=form)
    assert again.headers["location"] == "/?state=all&retry=0"
    assert "It was not tried again" in client.get(again.headers["location"]).text


def test_a_result_is_sent_again(filling: Filling, client: TestClient) -> None:
    form = {"token": token_of(client), "number": "4", "action": "resend", "back": ""}
    assert client.post("/act", data=form).headers["location"] == "/?resend=1"
    with filling.database.read() as session:
        result = session.get(ResultEntry, 4)
        assert result is not None
        assert [one.state for one in result.deliveries] == ["queued"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"token": ""}, 403),
        ({"token": "0" * 64}, 403),
        ({"token": "ä"}, 403),
        ({"action": "remove"}, 400),
        ({"number": "8; drop"}, 400),
        ({"back": "?state=unknown"}, 400),
    ],
)
def test_a_form_that_is_not_of_this_page_changes_nothing(
    filling: Filling, client: TestClient, changes: dict[str, str], status: int
) -> None:
    form = {"token": token_of(client), "number": "8", "action": "retry", "back": ""}
    assert client.post("/act", data={**form, **changes}).status_code == status
    if "back" not in changes:
        with filling.database.read() as session:
            job = session.get(JobEntry, 8)
            assert job is not None
            assert job.state == "quarantined"


def test_other_sites_and_large_forms_are_refused(client: TestClient) -> None:
    form = {"token": token_of(client), "number": "8", "action": "retry", "back": ""}
    foreign = client.post("/act", data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    assert client.post("/act", data={**form, "back": "x" * 20_000}).status_code == 413
    endless = client.post("/act", content=iter([b"token="]))
    assert endless.status_code == 413
    assert client.get("/act").status_code == 405


def test_a_name_that_was_bent_to_this_address_is_refused(client: TestClient) -> None:
    for host in ("evil.example", "evil.example:8080", "", "localhost.evil.example", "["):
        assert client.get("/", headers={"Host": host}).status_code == 421
    for host in ("127.0.0.1:8080", "[::1]:8080", "LOCALHOST"):
        assert client.get("/", headers={"Host": host}).status_code == 200


def test_files_come_from_inside_the_folder_of_results_only(
    filling: Filling, client: TestClient, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes((filling.out / "1.2.1/1.3.1/overlay.png").read_bytes())
    (filling.out / "link.png").symlink_to(secret)
    (filling.out / "folder").symlink_to(tmp_path)
    outside = {
        "up": "../../../secret.png", "absolute": str(secret), "linked": "../../link.png",
        "by-folder": "../../folder/secret.png", "zero": "overlay.png\0.txt", "none": "gone.png",
        "is-folder": "slices", "list": ["overlay.png"],
    }  # fmt: skip
    with filling.database.write() as session:
        result = session.get(ResultEntry, 1)
        assert result is not None
        inside = {**result.row["outputs"], "deep": "slices/0002.png"}
        result.row = {**result.row, "outputs": {**inside, **outside}}
    for name in inside:
        assert client.get(f"/results/1/{name}").status_code == 200, name
    for name in (*outside, "missing", "..%2f..%2fsecret.png", "%2e%2e", "picture%00"):
        assert client.get(f"/results/1/{name}").status_code == 404, name
    assert client.get("/results/../../secret.png").status_code == 404
    assert client.get("/results/99/overlay").status_code == 404
    assert client.get("/results/x/overlay").status_code == 404
    with filling.database.write() as session:
        result = session.get(ResultEntry, 1)
        assert result is not None
        result.folder = "../out/../.."
        result.row = {**result.row, "picture": "secret.png"}
    assert client.get("/results/1/picture").status_code == 404
    assert client.get("/results/1/thumbnail.jpg").status_code == 404


def test_what_a_browser_could_run_is_saved_instead(filling: Filling, client: TestClient) -> None:
    page = filling.out / "1.2.1/1.3.1/page.html"
    page.write_text("<script>alert(1)</script>")
    with filling.database.write() as session:
        result = session.get(ResultEntry, 1)
        assert result is not None
        result.row = {**result.row, "outputs": {"page": "page.html", "seg": "seg.dcm"}}
    for name in ("page", "seg"):
        headers = client.get(f"/results/1/{name}").headers
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("is_embedded", [True, False])
def test_the_view_of_a_study_runs_its_own_script_only(
    filling: Filling, client: TestClient, is_embedded: bool
) -> None:
    page = add_view(filling, 1, is_embedded=is_embedded)
    text = client.get("/").text
    assert 'href="/results/1/view"' in text
    assert 'href="/results/1/slices"' not in text  # no file, so not to be had here
    assert 'href="/results/1/view-pictures"' not in text
    shown = client.get("/results/1/view")
    assert shown.headers["content-type"].startswith("text/html")
    assert shown.text == page.read_text("utf-8")
    images = "data:" if is_embedded else "'self' data:"
    script, style = script_of("study/page")[1], style_of("study/page")[1]
    assert shown.headers["content-security-policy"] == (
        f"default-src 'none'; img-src {images}; style-src 'sha256-{style}'; "
        f"script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    picture = client.get("/results/1/view/axial-001.jpg")
    assert picture.status_code == (404 if is_embedded else 200)
    if not is_embedded:
        assert picture.headers["content-type"] == "image/jpeg"
        assert "script" not in picture.headers["content-security-policy"]
    (filling.out / "1.2.1/1.3.1/view").mkdir(exist_ok=True)
    (filling.out / "1.2.1/1.3.1/view/x.html").write_text("<script>alert(1)</script>")
    for name in ("x.html", "none.jpg", "..", "..%2foverlay.png", "%2e%2e%2foverlay.png"):
        assert client.get(f"/results/1/view/{name}").status_code == 404, name
    page.write_text(shown.text.replace(script, "0" * len(script)))  # of another version, or no one
    saved = client.get("/results/1/view").headers
    assert saved["content-disposition"].startswith("attachment")
    assert "script" not in saved["content-security-policy"]
    assert client.get("/results/2/view").status_code == 404


def test_a_picture_that_cannot_be_read_is_none(filling: Filling, client: TestClient) -> None:
    (filling.out / "1.2.1/1.3.1/slices/0002.png").write_bytes(b"no picture")
    assert client.get("/results/1/thumbnail.jpg").status_code == 404
    assert client.get("/results/2/thumbnail.jpg").headers["content-type"] == "image/jpeg"


def test_passwords_are_asked_for_and_every_user_has_a_token_of_their_own(
    filling: Filling, tmp_path: Path
) -> None:
    other = "another-long-secret"
    file = passwords(tmp_path, f"# who may look\n\nanna:{SECRET}\nbert:{other}\n")
    app = worklist_app(filling.database, filling.out, PageSettings(password_file=file))
    client = TestClient(app, base_url="http://localhost", follow_redirects=False)
    wrong = ({}, basic("anna", other), basic("anna", ""), basic("", SECRET), basic("x", SECRET),
             {"Authorization": "Bearer x"}, {"Authorization": "Basic %%%"},
             {"Authorization": f"Digest {SECRET}"}, {"Authorization": "Basic /w=="})  # fmt: skip
    for path in ("/", "/metrics", "/results/1/overlay", "/nothing"):
        for headers in wrong:
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic")
            assert SECRET not in answer.text
    assert client.get("/health").json() == {"status": "paused"}
    anna, bert = basic("anna", SECRET), basic("bert", other)
    assert client.get("/", headers=anna).status_code == 200
    assert client.get("/metrics", headers={"Authorization": f"Bearer {other}"}).status_code == 200
    form = {"token": token_of(client, headers=anna), "number": "8", "action": "retry"}
    assert client.post("/act", data=form, headers=bert).status_code == 403
    assert client.post("/act", data=form, headers=anna).status_code == 303
    with filling.database.read() as session:
        assert session.query(AuditEntry).filter_by(event="retry-asked").one().peer == "anna"


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (f"anna:{SECRET}\n", 0o640, "Others than its owner"),
        ("anna:short\n", 0o600, "Line 1 "),
        (f"anna:{SECRET}\nanna:{SECRET}\n", 0o600, "Line 2 "),
        (f"{SECRET}\n", 0o600, "Line 1 "),
        ("# nobody\n", 0o600, "is empty"),
    ],
)
def test_a_password_file_that_protects_nothing_is_refused(
    filling: Filling, tmp_path: Path, text: str, mode: int, said: str
) -> None:
    settings = PageSettings(password_file=passwords(tmp_path, text, mode))
    with pytest.raises(InvalidSettings, match=said) as refused:
        worklist_app(filling.database, filling.out, settings)
    assert SECRET not in str(refused.value)


def test_a_password_file_that_is_missing_is_told(filling: Filling, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read"):
        worklist_app(filling.database, filling.out, PageSettings(password_file=str(tmp_path / "x")))


TLS = {"tls_certificate_file": "c.pem", "tls_key_file": "k.pem"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "pacs.example", "192.168.1.1"])  # noqa: S104
def test_off_this_machine_it_does_not_start_open(host: str) -> None:
    with pytest.raises(InvalidSettings, match="without a password"):
        PageSettings(host=host)
    with pytest.raises(InvalidSettings, match="without a password"):
        PageSettings(host=host, **TLS)
    with pytest.raises(InvalidSettings, match="unencrypted"):
        PageSettings(host=host, password_file="p")  # noqa: S106
    assert PageSettings(host=host, password_file="p", **TLS).has_tls  # noqa: S106
    PageSettings(host=host, password_file="p", behind_tls_proxy=True)  # noqa: S106


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_this_machine_it_needs_neither(host: str) -> None:
    assert PageSettings(host=host).is_local
    with pytest.raises(InvalidSettings, match="certificate and a key"):
        PageSettings(host=host, tls_key_file="k.pem")


def test_a_database_that_fails_is_told_in_words(filling: Filling, client: TestClient) -> None:
    filling.database.close()
    for path in filling.out.glob("worklist.sqlite*"):
        path.unlink()
    (filling.out / "worklist.sqlite").mkdir()
    health = client.get("/health")
    assert (health.status_code, health.json()) == (503, {"status": "no-database"})
    page = client.get("/")
    assert page.status_code == 503
    assert "The database cannot be used just now" in page.text
