"""``@deduplicate`` where FastAPI has read the form before and kept no bytes."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, File, Form, UploadFile
from fastapi import Request as FastAPIRequest

from webhook_dedup import ConfigError, Policy, deduplicate
from webhook_dedup.guards import Rules
from webhook_dedup.providers import FirstOf, Parsed
from webhook_dedup.stores import MemoryStore

DONE = {"received": True, "duplicate": True}
SMS = {"MessageSid": "SM1", "From": "+49 30 1234"}


class Texts:
    """An app that takes text messages as forms; ``runs`` are the senders it handled."""

    def __init__(self, **options: Any) -> None:
        self.runs: list[str] = []
        self.app = FastAPI()

        @self.app.post("/sms")
        @deduplicate(MemoryStore(), **options)
        async def sms(
            request: FastAPIRequest,
            sender: Annotated[str, Form(alias="From")],
            media: Annotated[UploadFile | None, File()] = None,
        ) -> dict[str, str]:
            self.runs.append(sender)
            return {"from": sender}

    async def post(self, fields: dict[str, Any] = SMS, **options: Any) -> httpx.Response:
        return await post(self.app, "/sms", data=fields, **options)


async def post(app: Any, path: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as client:
        return await client.post(path, **options)


@pytest.mark.parametrize(
    "where",
    [
        {"event_id": "form:MessageSid"},
        {"event_id": ("form:From", "form:MessageSid")},
        {"event_id": FirstOf("id", "form:MessageSid")},
        {"event_id": lambda parsed: parsed.form()["MessageSid"][0]},
        {"event_id": "header:X-Id"},
        {"key": lambda **parameters: parameters["sender"]},
    ],
    ids=["form", "composite", "first", "function", "header", "key"],
)
async def test_id_is_found_without_the_body(where):
    """What is in the form, a header or the parameters is there, and the event runs once."""
    texts = Texts(**where)
    first = await texts.post(headers={"X-Id": "1"})
    again = await texts.post(headers={"X-Id": "1"})

    assert first.json() == {"from": SMS["From"]}
    assert (again.json(), len(texts.runs)) == (DONE, 1)


async def test_fields_beside_an_uploaded_file_are_read():
    """A file is no field."""
    texts = Texts(event_id=FirstOf("form:media", "form:MessageSid"))
    files = {"media": ("cat.png", b"\x89PNG", "image/png")}

    assert (await texts.post(files=files)).json() == {"from": SMS["From"]}
    assert (await texts.post(files=files)).json() == DONE


async def test_missing_field_is_the_senders_fault():
    """A form without the id is refused, as any other body."""
    texts = Texts(event_id="form:MessageSid")
    answer = await texts.post({"From": "+49"})

    assert (answer.status_code, answer.json()["error"]) == (400, "missing_event_id")


async def test_changed_form_of_a_known_event_is_its_copy():
    """There are no bytes to compare."""
    texts = Texts(event_id="form:MessageSid")
    await texts.post()

    assert (await texts.post({**SMS, "Attempt": "2"})).json() == DONE


async def test_guards_see_the_fields():
    """The form is what guards look at."""
    mine = Rules(keep={"field": "From[0]", "is": "equals", "value": "+1"})
    texts = Texts(event_id="form:MessageSid", guards=[mine])

    assert (await texts.post()).json() == {"received": True}
    assert texts.runs == []


def body_of(parsed: Parsed) -> str:
    return parsed.body.hex()


@pytest.mark.parametrize(
    "options",
    [
        {"event_id": "id"},
        {"event_id": body_of},
        {"event_id": "form:none", "policy": Policy(on_missing_id="hash_body")},
        {"event_id": "form:MessageSid", "policy": Policy(on_mismatch="reject")},
    ],
    ids=["JSON", "function", "hash", "mismatch"],
)
async def test_what_needs_the_body_says_so(options):
    """A mistake of the program's, told with the remedy at the first delivery; nothing runs."""
    texts = Texts(**options)
    with pytest.raises(ConfigError, match=r"read before and not kept.*event_id='form:…'"):
        await texts.post()
    assert texts.runs == []


async def size_of(request: FastAPIRequest) -> int:
    return sum([len(chunk) async for chunk in request.stream()])


async def test_stream_that_a_dependency_took_is_gone_altogether():
    """Then only a header or ``key=`` is left."""
    app = FastAPI()
    runs: list[int] = []

    for path, event_id in (("/header", "header:X-Id"), ("/form", "form:MessageSid")):

        @app.post(path)
        @deduplicate(MemoryStore(), event_id=event_id)
        async def take(request: FastAPIRequest, size: Annotated[int, Depends(size_of)]) -> None:
            runs.append(size)

    for _ in range(2):
        await post(app, "/header", data=SMS, headers={"X-Id": "1"})
    assert len(runs) == 1
    with pytest.raises(ConfigError, match="read before"):
        await post(app, "/form", data=SMS)


async def test_fault_in_the_protocol_is_not_taken_for_a_body_that_was_read():
    """What a middleware raises while the body is read goes on as it is."""

    @deduplicate(MemoryStore(), event_id="header:X-Id")
    async def hook(request: FastAPIRequest) -> None:
        pytest.fail("it ran")

    async def receive() -> Any:
        raise RuntimeError("Unexpected message received: http.response.start")

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"x-id", b"e1")]}
    with pytest.raises(RuntimeError, match="Unexpected message"):
        await hook(FastAPIRequest(scope, receive))
