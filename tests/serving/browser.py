"""Chromium without a window, driven through the WebDriver protocol (w3.org/TR/webdriver2)."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from lutra.testing.serving import DEADLINE, wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Browser:
    """One window."""

    def __init__(self, profile: Path, width: int = 1280, height: int = 900) -> None:
        port = _free_port()
        self._driver = subprocess.Popen(
            [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE)
        wait_until(self._listens)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        options = {"binary": CHROMIUM, "args": [*flags, f"--window-size={width},{height}"]}
        asked = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self._session = f"/session/{self._post('/session', asked)['sessionId']}"

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.delete(self._session)
        self._http.close()
        self._driver.terminate()
        self._driver.wait(DEADLINE)

    def _listens(self) -> bool:
        try:
            return self._http.get("/status").is_success
        except httpx.TransportError:
            return False

    def _post(self, path: str, content: dict[str, Any]) -> Any:
        answer = self._http.post(path, json=content)
        assert answer.is_success, answer.text
        return answer.json()["value"]

    def open(self, url: str) -> None:
        self._post(f"{self._session}/url", {"url": url})

    def run(self, script: str) -> Any:
        """The value that a script of the page returns."""
        return self._post(f"{self._session}/execute/sync", {"script": script, "args": []})

    def text(self, id: str) -> str:
        return str(self.run(f"return document.getElementById('{id}').textContent"))

    def click(self, id: str) -> None:
        self.run(f"document.getElementById('{id}').click()")

    def draw(self, id: str, points: list[tuple[float, float]]) -> None:
        """One stroke with the mouse, through points given as shares of an element's sides."""
        left, top, width, height = self.run(
            f"const e = document.getElementById('{id}'); e.scrollIntoView();"
            "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
        )
        moves: list[dict[str, Any]] = [
            {
                "type": "pointerMove",
                "duration": 10,
                "x": int(left + x * width),
                "y": int(top + y * height),
            }
            for x, y in points
        ]
        moves.insert(1, {"type": "pointerDown", "button": 0})
        moves.append({"type": "pointerUp", "button": 0})
        mouse = {"type": "pointer", "id": "mouse", "actions": moves}
        self._post(f"{self._session}/actions", {"actions": [mouse]})

    def emulate(self, command: str, **parameters: Any) -> None:
        """A command of Chromium's own (chromedevtools.github.io/devtools-protocol)."""
        self._post(f"{self._session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def picture(self) -> bytes:
        """What the window shows, as a PNG file."""
        answer = self._http.get(f"{self._session}/screenshot")
        return base64.b64decode(answer.json()["value"])
