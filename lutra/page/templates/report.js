"use strict";
// Pan and zoom of the circuit: the view is a rectangle of the drawing.
(() => {
  const stage = document.getElementById("stage");
  const svg = stage.querySelector("svg");
  const whole = svg.viewBox.baseVal;
  const size = { width: whole.width, height: whole.height };
  svg.removeAttribute("width");
  svg.removeAttribute("height");
  svg.setAttribute("preserveAspectRatio", "xMidYMid meet");
  // No higher than the drawing needs.
  stage.style.height = `min(620px, 75vh, ${Math.ceil(size.height) + 2}px)`;
  let view;

  const show = () => svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
  const scale = () => view.width / stage.clientWidth;

  // At first in natural size from the top, smaller where the page is narrower.
  const start = () => {
    const unit = Math.max(1, size.width / stage.clientWidth);
    const width = stage.clientWidth * unit;
    view = { x: (size.width - width) / 2, y: 0, width, height: stage.clientHeight * unit };
    show();
  };
  const all = () => {
    const unit = Math.max(size.width / stage.clientWidth, size.height / stage.clientHeight);
    const width = stage.clientWidth * unit;
    view = { x: (size.width - width) / 2, y: 0, width, height: stage.clientHeight * unit };
    show();
  };
  const zoom = (factor, x, y) => {
    const box = stage.getBoundingClientRect();
    const px = view.x + (x - box.left) * scale();
    const py = view.y + (y - box.top) * scale();
    const width = Math.min(20 * Math.max(size.width, size.height), Math.max(80, view.width / factor));
    const real = view.width / width;
    view = { x: px - (px - view.x) / real, y: py - (py - view.y) / real, width, height: view.height / real };
    show();
  };

  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 500), event.clientX, event.clientY);
  }, { passive: false });

  const fingers = new Map();
  const spread = () => {
    const [one, other] = [...fingers.values()];
    return Math.hypot(one.x - other.x, one.y - other.y);
  };
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  svg.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const before = fingers.size === 2 ? spread() : 0;
    const now = { x: event.clientX, y: event.clientY };
    fingers.set(event.pointerId, now);
    if (fingers.size === 2) {
      zoom(spread() / before, now.x, now.y);
    } else {
      view.x -= (now.x - last.x) * scale();
      view.y -= (now.y - last.y) * scale();
      show();
    }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    svg.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  for (const button of stage.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const box = stage.getBoundingClientRect();
      const factor = button.dataset.zoom;
      if (factor === "fit") all();
      else zoom(Number(factor), box.left + box.width / 2, box.top + box.height / 2);
    });
  }
  window.addEventListener("resize", () => {
    view.height = view.width * stage.clientHeight / stage.clientWidth;
    show();
  });
  start();
})();
