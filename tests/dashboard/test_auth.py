"""Who comes in, who may act, and how it is made sure that he means it."""

import asyncio
import html
import re

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route

from tests.asgi.kit import http_scope
from webhook_dedup import ConfigError, Dedup
from webhook_dedup.dashboard import Loopback, Role, Tokens, dashboard
from webhook_dedup.dashboard import sessions as sessions_module

from .kit import ADMIN, HOME, MOUNT, VIEWER, Desk, client_of, csrf_of

PUBLIC = {"/sign-in", "/static"}
ACTS = {"/replay", "/replay-all", "/bury", "/forget"}


def ways(desk):
    """Every path of the dashboard with every method it takes, whatever is added to it."""
    for route in desk.pages._app.routes:
        for method in getattr(route, "methods", None) or {"GET"}:
            yield method, route.path


async def test_nothing_without_a_token(desk):
    """Every page and act answers 401 to who brings no token, and nothing of it."""
    ways_in = [way for way in ways(desk) if way[1] not in PUBLIC]
    assert {path for _, path in ways_in} >= {"/", "/delivery", "/body", "/stream", *ACTS}
    await desk.deliver()
    async with desk.browser() as browser:
        for method, path in ways_in:
            answer = await browser.request(method, path.lstrip("/"))
            assert answer.status_code == 401, (method, path)
            assert "evt_1" not in answer.text
    async with desk.browser("a wrong token of 20 letters") as browser:
        for method, path in ways_in:
            assert (await browser.request(method, path.lstrip("/"))).status_code == 401


async def test_viewers_look_and_do_nothing(desk):
    """With the viewer's token every page is seen, and every act refused."""
    desk.handler._statuses[:] = [422]
    await desk.deliver()
    [row] = [record.delivery_id for record in desk.records.all[:1]]
    async with desk.browser(VIEWER) as browser:
        for path in ("", "deliveries", "dead", "sources", f"delivery?id={row}", f"body?id={row}"):
            page = await browser.get(path)
            assert page.status_code == 200, path
            assert "Replay" not in page.text
        for path in ACTS:
            for method in ("GET", "POST"):
                asked = f"{path.lstrip('/')}?id={row}&event=evt_1&source=shop"
                assert (await browser.request(method, asked)).status_code == 403, (method, path)
    assert (await desk.dedup.inbox.get(row)).dead


async def test_a_new_act_is_for_admins(desk):
    """Whatever is added later that takes a POST is kept from viewers by itself."""
    desk.pages._app.router.routes.append(Route("/new", lambda _: Response(), methods=["POST"]))
    for token, status in ((VIEWER, 403), (ADMIN, 200)):
        async with desk.browser(token) as browser:
            assert (await browser.post("new")).status_code == status


async def test_other_methods_are_refused(desk):
    """Nothing but GET, HEAD and POST goes anywhere."""
    async with desk.browser(ADMIN) as browser:
        for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
            assert (await browser.request(method, "replay")).status_code == 405


async def test_signing_in_and_out(desk):
    """The form takes a token and begins a session; signing out ends it."""
    browser = await desk.signed_in()
    page = await browser.get("deliveries")
    assert page.status_code == 200
    assert "admin" in page.text
    out = await browser.post("sign-out", data={"csrf": csrf_of(page)})
    assert out.headers["location"] == f"{MOUNT}/sign-in"
    assert (await browser.get("deliveries")).status_code == 401


async def test_a_wrong_token_is_logged(desk, caplog):
    """Whoever tries tokens is told of with his address; whoever has one, or shows none, is not."""
    async with desk.browser(ADMIN) as program, desk.browser() as nobody:
        await program.get("")
        await nobody.get("")
    await (await desk.signed_in()).aclose()
    assert caplog.records == []
    async with desk.browser() as browser, desk.browser("a wrong token of a program") as program:
        form = {"csrf": csrf_of(await browser.get("")), "token": "another token altogether"}
        await browser.post("sign-in", data=form)
        await program.get("")
    told = [(line.levelname, line.name, line.getMessage()) for line in caplog.records]
    assert (
        told
        == [
            (
                "WARNING",
                "webhook_dedup",
                "the dashboard was tried with a wrong token from '127.0.0.1'",
            )
        ]
        * 2
    )


async def test_a_wrong_token_opens_nothing(desk):
    """The form says so, and sets no session."""
    async with desk.browser() as browser:
        form = {"csrf": csrf_of(await browser.get("")), "token": "another token altogether"}
        answer = await browser.post("sign-in", data=form)
        assert answer.status_code == 401
        assert "opens nothing" in answer.text
        assert "webhook_dedup_session" not in browser.cookies


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cookies_are_out_of_reach(desk, scheme):
    """No script reads a cookie, no other site sends it, and over https nothing plain carries it."""
    base = f"{scheme}://127.0.0.1:8000{MOUNT}/"
    async with client_of(desk.app, base) as browser:
        first = await browser.get("")
        form = {"csrf": csrf_of(first), "token": ADMIN}
        answer = await browser.post("sign-in", data=form)
    for cookie in (first.headers["set-cookie"], answer.headers["set-cookie"]):
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert f"Path={MOUNT}/" in cookie
        assert ("Secure" in cookie) is (scheme == "https")
    assert "Max-Age=43200" in answer.headers["set-cookie"]
    assert ADMIN not in answer.headers["set-cookie"]


async def test_sessions_end(desk, monkeypatch):
    """A session ends by itself, and its end cannot be moved."""
    browser = await desk.signed_in()
    cookie = browser.cookies["webhook_dedup_session"]
    role, ends, *rest = cookie.split(".")
    for forged in (
        f"{role}.{int(ends) + 9999}.{'.'.join(rest)}",
        cookie.replace("admin", "viewer"),
        cookie[:-1],
        "...",
        "",
    ):
        answer = await client_of(desk.app, cookies={"webhook_dedup_session": forged}).get("dead")
        assert answer.status_code == 401, forged
    now = sessions_module.time.time()
    monkeypatch.setattr(sessions_module.time, "time", lambda: now + 13 * 3600)
    late = client_of(desk.app, cookies={"webhook_dedup_session": cookie})
    assert (await late.get("dead")).status_code == 401


async def test_a_viewer_cannot_become_an_admin(desk):
    """A viewer's session stays one, and its signature fits no other role."""
    browser = await desk.signed_in(VIEWER)
    cookie = browser.cookies["webhook_dedup_session"]
    assert (await browser.get("replay-all")).status_code == 403
    forged = cookie.replace("viewer", "admin")
    client = client_of(desk.app, cookies={"webhook_dedup_session": forged})
    assert (await client.get("dead")).status_code == 401


async def test_a_new_token_ends_old_sessions(tmp_path):
    """Sessions go with the token that began them, in every process."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url) as before:
        cookies = (await before.signed_in()).cookies
    async with Desk(url) as same, client_of(same.app, cookies=cookies) as browser:
        assert (await browser.get("dead")).status_code == 200
    changed = Tokens(admin="another-token-for-admins")
    async with Desk(url, auth=changed) as after, client_of(after.app, cookies=cookies) as browser:
        assert (await browser.get("dead")).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
    ],
)
async def test_forms_of_other_sites_are_refused(desk, headers):
    """A form that another site sends in an admin's name does nothing, whatever it brings along."""
    browser = await desk.signed_in()
    csrf = csrf_of(await browser.get("dead"))
    for path in ("replay-all", "sign-out", "sign-in"):
        answer = await browser.post(path, data={"csrf": csrf}, headers=headers)
        assert answer.status_code == 403, path
    same = {"Sec-Fetch-Site": "same-origin", "Origin": HOME}
    answer = await browser.post("replay-all", data={"csrf": csrf}, headers=same)
    assert answer.status_code == 303


async def test_forms_need_their_token(desk):
    """Every form must bring along what its page was given, bound to this session."""
    browser, other = await desk.signed_in(), await desk.signed_in()
    foreign = csrf_of(await other.get("dead"))
    before = csrf_of(await desk.browser().get(""))
    for csrf in ("", "x", foreign, before, "é"):
        for path in (*(act.lstrip("/") for act in ACTS), "sign-out", "sign-in"):
            answer = await browser.post(path, data={"csrf": csrf})
            assert answer.status_code == 403, (csrf, path)
    assert (await browser.get("dead")).status_code == 200


async def test_forms_end_with_their_session(desk):
    """What a page was given before somebody else signed in at the same browser is worth nothing."""
    desk.handler._statuses[:] = [422]
    await desk.deliver()
    browser = await desk.signed_in()
    before = csrf_of(await browser.get("replay-all"))
    del browser.cookies["webhook_dedup_session"]
    form = {"csrf": csrf_of(await browser.get("dead")), "token": ADMIN}
    assert (await browser.post("sign-in", data=form)).status_code == 303
    assert (await browser.post("replay-all", data={"csrf": before})).status_code == 403


async def test_large_forms_are_refused(desk):
    """No form is read beyond what a form can be."""
    browser = await desk.signed_in()
    answer = await browser.post("bury", data={"reason": "x" * 20_000})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "asked",
    ["//evil.example/", "https://evil.example", "/\\evil.example", "\\\\evil", "%0d%0aX: y"],
)
async def test_signing_in_leads_nowhere_else(desk, asked):
    """Whatever the address says, one is led to a page of this dashboard."""
    async with desk.browser() as browser:
        page = await browser.get("sign-in", params={"next": asked})
        form = {"csrf": csrf_of(page), "token": ADMIN}
        answer = await browser.post("sign-in", params={"next": asked}, data=form)
        where = answer.headers["location"]
        assert where.startswith(f"{MOUNT}/")
        assert "\n" not in where
        assert "x" not in {name.lower() for name in answer.headers}


async def test_signing_in_leads_back(desk):
    """One is led to the page that was asked for, filters and odd ids included."""
    async with desk.browser() as browser:
        page = await browser.get("deliveries?text=%ED%A0%80&state=dead")
        action = re.search(r'action="([^"]+)"', page.text)[1].replace("&amp;", "&")
        form = {"csrf": csrf_of(page), "token": ADMIN}
        answer = await browser.post(f"{HOME}{action}", data=form)
        assert answer.headers["location"] == f"{MOUNT}/deliveries?text=%ED%A0%80&state=dead"
        back = await browser.get(f"{HOME}{answer.headers['location']}")
        assert back.status_code == 200


async def test_a_link_from_another_site_is_asked_for_again(desk):
    """Such a request brings no strict cookie, so that its page asks once more from here."""
    async with desk.browser() as browser:
        from_elsewhere = await browser.get("dead", headers={"Sec-Fetch-Site": "cross-site"})
        assert 'http-equiv="refresh"' in from_elsewhere.text
        from_here = await browser.get("dead", headers={"Sec-Fetch-Site": "same-origin"})
        assert 'http-equiv="refresh"' not in from_here.text


def test_no_dashboard_without_auth():
    """There is no dashboard that is open by omission."""
    dedup = Dedup("memory://")
    for auth in (None, "", 5, "short", [ADMIN]):
        with pytest.raises(ConfigError):
            dashboard(dedup, auth=auth)
    for tokens in ({}, {"viewer": "short"}, {"admin": ADMIN, "viewer": ADMIN}):
        with pytest.raises(ConfigError):
            Tokens(**tokens)
    assert ADMIN not in repr(Tokens(admin=ADMIN))
    with pytest.raises(ConfigError):
        dashboard("sqlite:///webhooks.db", auth=ADMIN)


def loopback(auth):
    return Starlette(routes=[Mount(MOUNT, dashboard(Dedup("memory://"), auth=auth))])


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "localhost"])
async def test_loopback_lets_in_who_sits_here(tmp_path, host):
    """Without a token the dashboard answers at its own machine, and forms need theirs."""
    async with (
        Desk(f"sqlite:///{tmp_path}/webhooks.db", 422, auth=Loopback()) as desk,
        desk.browser(headers={"Host": host}) as browser,
    ):
        await desk.deliver()
        form = {"csrf": csrf_of(await browser.get("replay-all"))}
        async with desk.browser(headers={"Host": host}) as other:
            await other.get("dead")
            assert (await other.post("replay-all", data=form)).status_code == 403
        assert (await browser.post("replay-all")).status_code == 403
        assert (await browser.post("replay-all", data=form)).status_code == 303


@pytest.mark.parametrize(
    ("base", "client", "headers"),
    [
        (HOME, ("10.0.0.7", 5000), {}),
        ("http://10.0.0.1:8000", ("127.0.0.1", 5000), {"Host": "localhost"}),
        (HOME, ("127.0.0.1", 5000), {"Host": "rebound.example:8000"}),
        (HOME, ("127.0.0.1", 5000), {"Host": "localhost.evil.example"}),
        (HOME, ("127.0.0.1", 5000), {"X-Forwarded-For": "10.0.0.7"}),
        (HOME, ("127.0.0.1", 5000), {"Forwarded": "for=10.0.0.7"}),
        (HOME, ("127.0.0.1", 5000), {"Via": "1.1 proxy"}),
        (HOME, None, {}),
    ],
)
async def test_loopback_refuses_everybody_else(base, client, headers):
    """Another address, another name or a proxy is refused on every page."""
    app = loopback(Loopback())
    async with client_of(app, f"{base}{MOUNT}/", client, headers=headers) as browser:
        for path in ("", "dead", "sources", "stream", "replay-all"):
            answer = await browser.get(path)
            assert answer.status_code == 403
            assert "token" not in answer.text or "no token" in answer.text


def by_header(request):
    return request.headers.get("x-role")


async def by_header_later(request):
    await asyncio.sleep(0)
    role = request.headers.get("x-role")
    return Role(role) if role else None


@pytest.mark.parametrize("ask", [by_header, by_header_later])
async def test_the_app_decides(tmp_path, ask):
    """A function of the request says who may look or act; it may be async."""
    async with Desk(f"sqlite:///{tmp_path}/webhooks.db", 422, auth=ask) as desk:
        await desk.deliver()
        for role, statuses in ((None, (403, 403)), ("viewer", (200, 403)), ("admin", (200, 200))):
            async with desk.browser(headers={"X-Role": role} if role else {}) as browser:
                seen = [(await browser.get(path)).status_code for path in ("dead", "replay-all")]
                assert tuple(seen) == statuses
        # Who the app let in by something that browsers add by themselves must mean what he does.
        known = {"X-Role": "admin", "Authorization": "Bearer of-the-app"}
        async with desk.browser(headers=known) as browser:
            assert (await browser.post("replay-all")).status_code == 403
            form = {"csrf": csrf_of(await browser.get("replay-all"))}
            assert (await browser.post("replay-all", data=form)).status_code == 303


async def test_programs_bear_their_token(desk):
    """A program needs no form's token, and is told in plain words."""
    async with desk.browser(ADMIN) as program:
        assert (await program.post("replay-all")).status_code == 303
        missing = await program.post("replay?id=nothing")
        assert missing.status_code == 404
        assert missing.headers["content-type"].startswith("text/plain")


async def test_signing_in_keeps_the_filter(desk):
    """A blank in a filter is still one after signing in."""
    async with desk.browser() as browser:
        page = await browser.get("deliveries?text=a+b%2Bc")
        action = html.unescape(re.search(r'action="([^"]+)"', page.text)[1])
        form = {"csrf": csrf_of(page), "token": ADMIN}
        answer = await browser.post(f"{HOME}{action}", data=form)
        assert answer.headers["location"] == f"{MOUNT}/deliveries?text=a+b%2Bc"


async def test_signing_out_too_late(desk):
    """Who signs out of a session that has ended, and signs in again, comes to a page."""
    browser = await desk.signed_in()
    del browser.cookies["webhook_dedup_session"]
    page = await browser.post("sign-out")
    action = html.unescape(re.search(r'action="([^"]+)"', page.text)[1])
    form = {"csrf": csrf_of(page), "token": ADMIN}
    answer = await browser.post(f"{HOME}{action}", data=form)
    assert answer.status_code == 303
    assert (await browser.get(f"{HOME}{answer.headers['location']}")).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://[x", "[", "http://127.0.0.1:8000@evil", "//127.0.0.1:8000"]
)
async def test_damaged_origins_are_refused(desk, origin):
    """An Origin that is none is another site's."""
    browser = await desk.signed_in()
    csrf = csrf_of(await browser.get("dead"))
    answer = await browser.post("replay-all", data={"csrf": csrf}, headers={"Origin": origin})
    assert answer.status_code == 403


async def test_a_form_that_breaks_off(desk):
    """Who leaves while he sends a form is refused, and nothing is raised."""
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    bearer = [(b"authorization", f"Bearer {ADMIN}".encode())]
    await desk.app(http_scope(f"{MOUNT}/replay-all", "POST", headers=bearer), receive, send)
    assert sent[0]["status"] == 400


async def test_an_empty_visit_is_replaced(desk):
    """A visit cookie of nothing is no key for forms: another one is set."""
    async with desk.browser(cookies={"webhook_dedup_visit": ""}) as browser:
        answer = await browser.get("sign-in")
        assert re.search(r"webhook_dedup_visit=[0-9a-f]{32};", answer.headers["set-cookie"])


async def test_an_empty_role_is_none(tmp_path):
    """An app that answers an empty role lets nobody in."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url, auth=lambda _: "") as desk, desk.browser() as browser:
        assert (await browser.get("dead")).status_code == 403
