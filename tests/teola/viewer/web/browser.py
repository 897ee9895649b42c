"""Headless Chromium, driven through two pipes: DevTools' protocol, one JSON object a message.

Nothing is installed for it but the browser itself (`make browser`).
"""

import json
import os
import select
import shutil
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
_TIMEOUT_S = 60.0  # for what a page is to come to
_ANSWER_S = 60.0


def find_browser() -> str | None:
    """`TEOLA_BROWSER`, or what is on the path."""
    named = os.environ.get("TEOLA_BROWSER")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One process; a page is a tab of its own."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        from_us, self._out = os.pipe()
        self._in, to_us = os.pipe()
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                f'exec 3<&{from_us} 4>&{to_us}; exec "$0" "$@"',
                program,
                *self._options,
            ],
            pass_fds=(from_us, to_us),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(from_us)
        os.close(to_us)
        self._number = 0
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    @property
    def _options(self) -> list[str]:
        return [
            "--headless",
            "--remote-debugging-pipe",
            f"--user-data-dir={self._profile.name}",
            "--no-sandbox",  # tests run as root, in containers too, on pages of their own
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--force-prefers-reduced-motion",
        ]

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """One command and its answer; events that come meanwhile are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            answers = select.poll()  # select() knows only the first 1,024 files
            answers.register(self._in, select.POLLIN)
            assert answers.poll(1000 * _ANSWER_S), f"the browser said nothing for {_ANSWER_S:g} s"
            data = os.read(self._in, 1 << 20)
            assert data, "the browser ended"
            self._rest += data
        first, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(first))

    def close(self) -> None:
        os.close(self._out)  # which ends it
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        self._profile.cleanup()


class Page:
    """One tab, as a person uses it."""

    def __init__(self, browser: Browser, width: int = 1400, height: int = 900) -> None:
        self._browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        self.resize(width, height)

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def resize(self, width: int, height: int) -> None:
        sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **sizes)

    def prefer(self, scheme: str) -> None:
        """`dark` or `light`, as the system says."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def open(self, path: Path) -> float:
        """Seconds until its first rows are there."""
        began = monotonic()
        self._call("Page.navigate", url=path.absolute().as_uri())
        self.wait_for("document.readyState === 'complete' && document.querySelector('main')")
        return monotonic() - began

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str) -> None:
        until = monotonic() + _TIMEOUT_S
        while not self.run(f"Boolean({script})"):
            assert monotonic() < until, f"it never came to be: {script}"
            sleep(0.02)

    def texts(self, selector: str) -> list[str]:
        """What stands in each element, as a person sees it."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return list(self.run(f"{found}.map((each) => each.innerText ?? each.textContent)"))

    def text(self, selector: str) -> str:
        """Of the only such element."""
        (only,) = self.texts(selector)
        return only

    def boxes(self, selector: str) -> list[dict[str, float]]:
        """Where each element is: x, y, width, height."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return list(self.run(f"{found}.map((each) => each.getBoundingClientRect().toJSON())"))

    def click(self, selector: str, having: str = "") -> None:
        """With the mouse, in the middle of the first such element that has the text."""
        where = self._middle(selector, having)
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, *where, button="left", clickCount=1)

    def drag(self, selector: str, from_share: float, to_share: float) -> None:
        """With the mouse along an element, between two shares of its width."""
        box = self.boxes(selector)[0]
        y = box["y"] + box["height"] / 2
        xs = [box["x"] + share * box["width"] for share in (from_share, to_share)]
        self._mouse("mousePressed", xs[0], y, button="left", clickCount=1)
        self._mouse("mouseMoved", sum(xs) / 2, y, button="left", buttons=1)
        self._mouse("mouseMoved", xs[1], y, button="left", buttons=1)
        self._mouse("mouseReleased", xs[1], y, button="left", clickCount=1)

    def wheel(self, selector: str, by: float, *, with_ctrl: bool = False) -> None:
        x, y = self._middle(selector, "")
        self._mouse("mouseWheel", x, y, deltaX=0, deltaY=by, modifiers=2 if with_ctrl else 0)

    def type(self, text: str) -> None:
        self._call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """A key, as `Enter`, `ArrowDown`, `Tab` or `+`."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        codes = {"Enter": 13, "Tab": 9, "ArrowDown": 40, "ArrowUp": 38, "End": 35, "Home": 36}
        code = codes.get(key, ord(key.upper()) if len(key) == 1 else 0)
        named = {"key": key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self._call("Input.dispatchKeyEvent", type="keyUp", **named)

    def accessible(self) -> list[tuple[str, str]]:
        """Role and name of each element, as a screen reader is told."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        kept = [node for node in nodes if not node["ignored"]]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in kept]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(b64decode(self._call("Page.captureScreenshot")["data"]))

    @property
    def problems(self) -> list[str]:
        """Errors on the console, errors nobody caught, and what the page's policy refused."""
        self.run("0")  # events until now are there
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [json.dumps(event["params"]) for event in self._events(*kinds)]

    @property
    def requests(self) -> list[str]:
        """What it asked for beside itself."""
        self.run("0")
        sent = [event["params"] for event in self._events("Network.requestWillBeSent")]
        return [each["request"]["url"] for each in sent if each.get("type") != "Document"]

    def _events(self, *methods: str) -> list[dict[str, Any]]:
        mine = [e for e in self._browser.events if e.get("sessionId") == self._session]
        return [event for event in mine if event["method"] in methods]

    def _middle(self, selector: str, having: str) -> tuple[float, float]:
        names = json.dumps([selector, having])
        box = self.run(
            f"""(() => {{
              const [selector, having] = {names};
              const found = [...document.querySelectorAll(selector)];
              const one = found.find((each) => each.textContent.includes(having));
              one?.scrollIntoView({{ block: "nearest" }});
              return one?.getBoundingClientRect().toJSON();
            }})()"""
        )
        assert box is not None, f"there is no {selector} with {having!r}"
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)


Open = Callable[..., Page]
