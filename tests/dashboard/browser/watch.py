"""Watches a page for what must never happen on it."""

from __future__ import annotations

from tests.dashboard.showcase import ADMIN

_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation",
  (event) => console.error(`violated ${event.violatedDirective}: ${event.blockedURI}`));
"""


class Watch:
    """Collects dialogs, complaints of scripts and of the policy, and requests to elsewhere."""

    def __init__(self, page, home: str) -> None:
        self.page = page
        self.home = home
        self.faults: list[str] = []

    async def begin(self) -> None:
        await self.page.add_init_script(_TELL_VIOLATIONS)
        self.page.on("dialog", self._dialog)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("console", self._console)
        self.page.on("request", self._request)

    async def sign_in(self, token: str = ADMIN) -> None:
        await self.page.goto(f"{self.home}sign-in")
        await self.page.get_by_label("Token").fill(token)
        await self.page.keyboard.press("Enter")
        await self.page.get_by_role("heading", name="Live").wait_for()

    def check(self) -> None:
        assert not self.faults, self.faults

    async def _dialog(self, dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _console(self, message) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    def _request(self, request) -> None:
        if not request.url.startswith((self.home, "data:")):
            self.faults.append(f"request: {request.url}")
