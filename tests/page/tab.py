"""One tab of a browser: what a person does with it, and what it shows."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chromium import Chromium

_KEYS = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Tab": (9, ""),
    " ": (32, " "),
    "ArrowDown": (40, ""),
    "ArrowUp": (38, ""),
    "Home": (36, ""),
    "End": (35, ""),
}
_SHIFT = 8

_POINT = """async (selector, across, down) => {
  const frame = () => new Promise(requestAnimationFrame);
  let before = '';
  for (const end = performance.now() + 10000; performance.now() < end;) {
    const element = document.querySelector(selector);
    element.scrollIntoView({ block: 'center', behavior: 'instant' });
    await frame();
    const { x, y, width, height } = element.getBoundingClientRect();
    const point = [x + width * across, y + height * down];
    if (String(point) === before && element.contains(document.elementFromPoint(...point))) return point;
    before = String(point);
    await frame();
  }
  throw new Error(`${selector} can't be clicked`);
}"""


class PageError(AssertionError):
    """JavaScript raised, or what was waited for never came."""


class Page:
    """One tab."""

    def __init__(self, browser: Chromium, session: str, context: str) -> None:
        self._browser = browser
        self._session = session
        self._context = context
        self._forgiven: list[str] = []

    def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def events(self, method: str) -> list[dict[str, Any]]:
        """The parameters of every event of a name so far."""
        return [
            dict(event["params"])
            for event in list(self._browser.events)
            if event["method"] == method and event.get("sessionId") == self._session
        ]

    def event(self, method: str, seconds: float = 10) -> dict[str, Any]:
        """The parameters of the newest event of a name, waited for if there is none."""
        end = time.monotonic() + seconds
        while not (found := self.events(method)):
            if time.monotonic() > end:
                raise PageError(f"no {method} in {seconds:g} s")
            time.sleep(0.01)
        return found[-1]

    def size(self, width: int, height: int, scale: float = 1) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def media(self, **features: str) -> None:
        """Such as ``prefers_color_scheme="dark"``."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def speaks(self, tag: str) -> None:
        """The language the browser asks for, from the next load on."""
        script = f"Object.defineProperty(navigator, 'languages', {{get: () => [{json.dumps(tag)}]}})"
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def goto(self, url: str) -> None:
        before = len(self.events("Page.loadEventFired"))
        self.call("Page.navigate", url=url)
        self._loaded(before)

    def reload(self) -> list[str]:
        """Load it again, and leave it where it asks whether that is meant; answers the kinds of questions it asked."""
        before, asked = len(self.events("Page.loadEventFired")), len(self.events("Page.javascriptDialogOpening"))
        self.call("Page.reload")
        self._loaded(before)
        return [event["type"] for event in self.events("Page.javascriptDialogOpening")[asked:]]

    def _loaded(self, before: int) -> None:
        answered = len(self.events("Page.javascriptDialogClosed"))
        end = time.monotonic() + 30
        while len(self.events("Page.loadEventFired")) == before:
            if len(self.events("Page.javascriptDialogOpening")) > answered:
                answered += 1
                self.call("Page.handleJavaScriptDialog", accept=True)
            if time.monotonic() > end:
                raise PageError("the page did not load")
            time.sleep(0.01)

    def js(self, expression: str) -> Any:
        """The value of an expression; a promise is waited for.

        Raises:
            PageError: it raised.
        """
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise PageError(f"{expression:.200}: {details.get('exception', {}).get('description', details['text'])}")
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = 30) -> Any:
        """Wait for a JavaScript expression to be true; answers its value.

        Raises:
            PageError: it never was; with what the page showed.
        """
        end = time.monotonic() + seconds
        while not (value := self.js(condition)):
            if time.monotonic() > end:
                shown = self.js("document.body.innerText")
                raise PageError(f"not within {seconds:g} s: {condition}\nthe page shows:\n{shown}\n{self.complaints()}")
            time.sleep(0.03)
        return value

    def text(self, selector: str) -> str:
        """What an element shows."""
        return str(self.js(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str, times: int = 1, at: tuple[float, float] = (0.5, 0.5)) -> None:
        """The mouse on a point of an element, as parts of its width and height, once it stands still under it.

        Raises:
            PageError: it never does, or another element lies over it.
        """
        x, y = self.js(f"({_POINT})({json.dumps(selector)}, {at[0]}, {at[1]})")
        self.click_at(x, y, times)

    def click_at(self, x: float, y: float, times: int = 1) -> None:
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)

    def press(self, *keys: str, shift: bool = False) -> None:
        """Keys, one after the other: a name of the DOM's, or one character."""
        for key in keys:
            code, text = _KEYS.get(key, (ord(key.upper()) if len(key) == 1 else 0, key if len(key) == 1 else ""))
            common: dict[str, Any] = {
                "key": key,
                "windowsVirtualKeyCode": code,
                "modifiers": _SHIFT if shift else 0,
                "code": key if len(key) > 1 else "",
            }
            self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def write(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def files(self, selector: str, paths: Iterable[Path]) -> None:
        """Choose files in an ``<input type=file>``."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self.call("DOM.setFileInputFiles", files=[str(path) for path in paths], objectId=found["result"]["objectId"])

    def downloads(self, directory: Path) -> None:
        """Have what the page downloads written to a directory, under the name the page gave it."""
        self._browser.call(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(directory),
            browserContextId=self._context,
        )

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of what is in the window, or of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def controls(self) -> list[tuple[str, str]]:
        """(role, accessible name) of everything that can have the focus, as a screen reader is told."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if any(kept["name"] == "focusable" and kept["value"].get("value") for kept in node.get("properties", ()))
        ]

    def complaints(self) -> list[str]:
        """Errors on the console, exceptions nobody caught, and what the content security policy refused."""
        thrown = [
            event["exceptionDetails"].get("exception", {}).get("description", event["exceptionDetails"]["text"])
            for event in self.events("Runtime.exceptionThrown")
        ]
        said = [
            event["entry"]["text"] + " " + event["entry"].get("url", "")
            for event in self.events("Log.entryAdded")
            if event["entry"]["level"] == "error"
        ]
        return [line for line in thrown + said if not any(part in line for part in self._forgiven)]

    def forgive(self, *parts: str) -> None:
        """Complaints with one of these in them are what a test asked for."""
        self._forgiven += parts

    def addresses(self) -> list[str]:
        """Every address the page asked for."""
        asked = [str(event["request"]["url"]) for event in self.events("Network.requestWillBeSent")]
        return asked + [str(event["url"]) for event in self.events("Network.webSocketCreated")]
