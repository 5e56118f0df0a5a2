"""The page on which to draw, in a real browser where one is installed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest

pytest.importorskip("fastapi")

import lutra
from lutra.client import Client
from lutra.ir.errors import InputError
from lutra.serving.demo import create_page
from lutra.serving.remote import Remote
from lutra.testing.serving import Running, start, wait_until
from onnx_models import model_of
from served import P_ERROR
from serving.browser import CHROMIUM, DRIVER, Browser
from small_models import FEW_BITS, tensor

pytestmark = pytest.mark.encrypted

SIZE = 4


def image_model() -> onnx.ModelProto:
    """Three classes of images of 4 by 4 pixels."""
    rng = np.random.default_rng(2)
    w1, w2 = rng.normal(size=(SIZE * SIZE, 3)), rng.normal(size=(3, 3))
    return model_of(
        f"net (float[N,1,{SIZE},{SIZE}] x) => (float[N,3] y)"
        f"<{tensor('w1', w1.round(2))}, {tensor('w2', w2.round(2))}>"
        "{ f = Flatten(x)  h = MatMul(f, w1)  r = Relu(h)  y = MatMul(r, w2) }"
    )


@pytest.fixture(scope="module")
def model() -> lutra.Model:
    images = np.random.default_rng(3).uniform(0, 1, (200, 1, SIZE, SIZE)).astype(np.float32)
    return lutra.compile(image_model(), images, FEW_BITS, p_error=P_ERROR)


@pytest.fixture(scope="module")
def images(model: lutra.Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("images")
    model.save(folder / "net.lutra")
    running = Running(folder / "net.lutra", folder / "data")
    yield running
    running.stop()


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium is installed")
def test_what_is_drawn_is_classified(images: Running, model: lutra.Model, tmp_path: Path) -> None:
    page, url = start("demo", images.url, "--port=0")
    with Browser(tmp_path / "profile", width=390) as browser:
        browser.open(url)
        assert browser.run("return document.getElementById('send').disabled")
        browser.draw("pad", [(0.2, 0.2), (0.8, 0.3), (0.4, 0.8)])
        pixels = np.array(browser.run("return ink()"), np.float32)
        assert pixels.shape == (SIZE, SIZE)
        assert pixels.max() > 0.5
        browser.click("send")
        wait_until(lambda: browser.text("answer") or browser.text("error"))
        assert browser.text("error") == ""
        y = model.predict(pixels.reshape(1, 1, SIZE, SIZE))
        assert int(browser.text("answer")) == np.argmax(y)  # type: ignore[arg-type]
        assert "bytes" in browser.text("sent-text")
        assert "bytes" in browser.text("received-text")
        wide = browser.run("return document.documentElement.scrollWidth > innerWidth")
        assert not wide, "it scrolls sideways"
    assert images.figure("clients") == 1
    page.terminate()
    page.wait()
    if page.stdout is not None:
        page.stdout.close()
    assert images.figure("clients") == 0, "the keys are forgotten"


def asked(app: Any, method: str, path: str, host: str = "127.0.0.1", **more: Any) -> httpx.Response:
    """What the page's process answers."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, **more)

    return asyncio.run(ask())


def test_only_the_page_is_served(images: Running) -> None:
    with Remote(images.url, patience=0) as remote:
        client = Client(remote.client_part())
        client.keygen()
        app = create_page(client, remote)
    page = asked(app, "GET", "/").text
    assert "{{" not in page
    assert asked(app, "GET", "/", host="evil.example").status_code == 400
    drawing = {"pixels": np.eye(SIZE).tolist()}
    assert asked(app, "POST", "/drawings", json=drawing).status_code == 403
    guess = {"X-Lutra": "guess"}
    assert asked(app, "GET", "/drawings/x", headers=guess).status_code == 403
    right = {"X-Lutra": page.partition('"secret": "')[2].partition('"')[0]}
    for wrong in ([[1.0]], [], [[0.5] * SIZE] * (SIZE + 1)):
        answer = asked(app, "POST", "/drawings", json={"pixels": wrong}, headers=right)
        assert answer.status_code == 422
    assert asked(app, "GET", "/drawings/x", headers=right).status_code == 404


def test_models_of_no_images(path: Path, server: Running) -> None:
    with Remote(server.url) as remote, pytest.raises(InputError, match="images of one channel"):
        create_page(Client(path), remote)
