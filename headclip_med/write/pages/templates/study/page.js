"use strict";
// Scrolls the pictures of a study. Colours and opacity of the heatmap are the work of one SVG
// filter, so that no pixel is read: the page works as a file, and with its pictures beside it.
const data = JSON.parse(document.getElementById("data").textContent);
const controls = document.querySelector(".controls");
const PREFETCHED = 3, FAR = 10, NOTCH = 40;
const BARS_MM = [200, 100, 50, 20, 10, 5, 2, 1];
const SVG = "http://www.w3.org/2000/svg";

const added = (parent, tag, name, space) => {
  const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
  made.setAttribute("class", name);
  return parent.appendChild(made);
};

// A picture, its heat and its outlines above each other, filling an element or seen through it.
class Layers {
  constructor(element, plane) {
    this.plane = plane;
    this.grey = added(element, "img", "grey");
    this.heat = added(element, "img", "heat");
    this.marks = added(element, "svg", "marks", SVG);
    this.marks.setAttribute("viewBox", `0 0 ${plane.size[0]} ${plane.size[1]}`);
    this.marks.setAttribute("preserveAspectRatio", "none");
    this.outline = added(this.marks, "path", "outline", SVG);
    for (const one of [this.grey, this.heat]) { one.alt = ""; one.decoding = "sync"; }
  }
  show(number, alt) {
    this.grey.src = this.plane.grey[number];
    this.heat.src = this.plane.heat[number];
    this.grey.alt = alt;
    this.outline.setAttribute("d", this.plane.outlines[number] || "");
  }
  // Shows a part only: left, top, width and height as shares of the whole.
  look(left, top, width, height) {
    for (const one of [this.grey, this.heat, this.marks]) {
      Object.assign(one.style, {
        width: `${100 / width}%`, height: `${100 / height}%`,
        left: `${-100 * left / width}%`, top: `${-100 * top / height}%`,
      });
    }
  }
}

const kept = new Map();
const prefetch = (address) => {
  if (!address || kept.has(address)) return;
  const image = new Image();
  image.src = address;
  kept.set(address, image);
};

// One direction that is scrolled.
class Scrolled {
  constructor(figure) {
    this.plane = data.planes[figure.dataset.plane];
    this.title = figure.dataset.title;
    this.pane = figure.querySelector(".pane");
    this.said = figure.querySelector(".said");
    this.slider = figure.querySelector("input[type=range]");
    this.count = this.plane.grey.length;
    this.layers = new Layers(this.pane, this.plane);
    this.numbers = [];
    const [width, height] = this.plane.lengths;
    this.pane.style.aspectRatio = `${width} / ${height}`;
    this.pane.style.width = `min(100%, ${72 * width / height}vh)`;
    this.furnish(width);
    this.number = -1;
    this.listen(figure);
  }
  furnish(width) {
    (this.plane.edges || []).forEach((side, place) => {
      added(this.pane, "span", `edge ${["left", "top", "right", "bottom"][place]}`).textContent = side;
    });
    this.lines = data.planes.map(() => added(this.layers.marks, "line", "cross", SVG));
    const bar = this.plane.has_mm && BARS_MM.find((one) => one <= width / 3);
    if (bar) {
      const made = added(this.pane, "span", "bar-of-mm");
      made.style.width = `${100 * bar / width}%`;
      made.textContent = bar >= 10 ? `${bar / 10} cm` : `${bar} mm`;
    }
  }
  listen(figure) {
    if (this.count === 1) return;
    let wheeled = 0;
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    this.pane.addEventListener("wheel", (event) => {
      if (event.ctrlKey) return;
      event.preventDefault();
      wheeled += event.deltaY * (event.deltaMode ? NOTCH : 1);
      const steps = Math.trunc(wheeled / NOTCH);
      if (!steps) return;
      wheeled = 0;
      this.go(this.number + Math.sign(steps));
    }, { passive: false });
    for (const button of figure.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.go(this.number + Number(button.dataset.step)));
    }
    this.pane.addEventListener("keydown", (event) => this.press(event));
    this.pane.addEventListener("click", (event) => this.point(event));
  }
  press(event) {
    const step = {
      ArrowUp: -1, ArrowLeft: -1, "-": -1, "\u2212": -1, ArrowDown: 1, ArrowRight: 1, "+": 1,
      PageUp: -FAR, PageDown: FAR, Home: -this.count, End: this.count,
    }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.go(this.number + step);
  }
  // Moves the other pictures to the place that was clicked.
  point(event) {
    const { left, top, width, height } = this.pane.getBoundingClientRect();
    const shares = { across: (event.clientX - left) / width, down: (event.clientY - top) / height };
    for (const side of ["across", "down"]) {
      if (!this.plane[side]) continue;
      const [axis, is_back] = this.plane[side];
      move(axis, is_back ? 1 - shares[side] : shares[side]);
    }
  }
  go(wanted) {
    const number = Math.max(0, Math.min(this.count - 1, wanted));
    if (number === this.number) return;
    this.number = number;
    const where = this.plane.centres[number];
    const is_stored = this === scrolled[0];
    const facts = [
      this.count > 1 && `${number + 1} of ${this.count}`,
      is_stored && `score ${data.scores[number].toFixed(2)}`,
    ].filter(Boolean);
    const what = facts.join(", ");
    this.layers.show(number, `${this.title} ${what}, under its heatmap`);
    this.said.textContent = [...facts, where && `centre (LPS, mm) ${where}`].filter(Boolean).join(", ");
    if (this.slider) {
      this.slider.value = number;
      this.slider.setAttribute("aria-valuetext", what);
    }
    for (let step = -PREFETCHED; step <= PREFETCHED; step++) {
      prefetch(this.plane.grey[number + step]);
      prefetch(this.plane.heat[number + step]);
    }
    if (is_stored) { this.label(number); mark(number); }
    for (const other of scrolled) other.cross();
  }
  // Writes the candidates' numbers beside them.
  label(number) {
    for (const one of this.numbers.splice(0)) one.remove();
    for (const one of data.lesions) {
      if (number < one.slices[0] || number > one.slices[1]) continue;
      const made = added(this.pane, "span", "number");
      made.textContent = one.id;
      made.style.left = `${100 * Math.min(one.box[2], 0.96)}%`;
      made.style.top = `${100 * Math.max(one.box[1] - 0.02, 0.01)}%`;
      this.numbers.push(made);
    }
  }
  // Draws where the other pictures lie in this one.
  cross() {
    const [width, height] = this.plane.size;
    scrolled.forEach((other, place) => {
      const line = this.lines[place], at = other.plane.at[other.number];
      const is_side = (side) => this.plane[side] && this.plane[side][0] === other.plane.axis;
      if (other === this || at === undefined || !(is_side("down") || is_side("across"))) {
        return line.removeAttribute("x2");
      }
      const side = is_side("down") ? "down" : "across";
      const share = this.plane[side][1] ? 1 - at : at;
      const ends = side === "down"
        ? { x1: 0, x2: width, y1: share * height, y2: share * height }
        : { x1: share * width, x2: share * width, y1: 0, y2: height };
      for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value);
    });
  }
}

// Scrolls the direction that runs along an axis of the stack to a place on it, from 0 to 1.
const move = (axis, share) => {
  const found = scrolled.find((one) => one.plane.axis === axis && one.plane.at.length);
  if (!found) return;
  const off = found.plane.at.map((at) => Math.abs(at - share));
  found.go(off.indexOf(Math.min(...off)));
};

const scrolled = [];
const scroll_all = () => {
  for (const figure of document.querySelectorAll(".plane")) scrolled.push(new Scrolled(figure));
  for (const one of scrolled) one.go(Math.floor(one.count / 2));
};

// The bars of the slices' scores, where a click leads to a slice.
const bars = document.querySelector(".bars-of-slices svg");
const now = bars && added(bars, "rect", "now", SVG);
bars?.setAttribute("preserveAspectRatio", "none");
const buttons = [...document.querySelectorAll(".jump")];
const mark = (number) => {
  if (now) {
    const step = 500 / data.scores.length;
    const shape = { x: number * step + step / 2 - 0.75, y: 0, width: 1.5, height: 41 };
    for (const [name, value] of Object.entries(shape)) now.setAttribute(name, value);
  }
  for (const button of buttons) {
    button.setAttribute("aria-current", Number(target(button).slice) === number);
  }
};
bars?.addEventListener("click", (event) => {
  const { left, width } = bars.getBoundingClientRect();
  scrolled[0].go(Math.floor((event.clientX - left) / width * data.scores.length));
});

const target = (button) =>
  button.dataset.lesion === undefined ? button.dataset : data.lesions[button.dataset.lesion];

const jump = (button) => {
  const { slice, at } = target(button);
  scrolled[0].go(Number(slice));
  (at || []).forEach((share, axis) => { if (axis) move(axis, share); });
};

const fill = (button) => {
  const plane = data.planes[0], crop = button.querySelector(".crop");
  const layers = new Layers(crop, plane), { slice, box } = target(button);
  const [width, height] = plane.lengths;
  layers.show(slice, "");
  if (box) {
    // A square around the candidate, in true proportions.
    const side = Math.min(Math.max((box[2] - box[0]) * width, (box[3] - box[1]) * height) * 1.8
      || 1, Math.max(width, height));
    const wanted = Math.max(side, Math.max(width, height) / 5);
    const [across, down] = [wanted / width, wanted / height];
    layers.look((box[0] + box[2] - across) / 2, (box[1] + box[3] - down) / 2, across, down);
  } else crop.style.aspectRatio = `${width} / ${height}`;
  button.addEventListener("click", () => {
    jump(button);
    scrolled[0].pane.scrollIntoView({ block: "nearest" });
  });
};

// What is shown of the heatmap: nothing below the level, and above it the more the higher.
const shade = () => {
  const strongest = controls.opacity.value / 100, low = Number(controls.low.value);
  const values = Array.from({ length: 256 }, (_, level) =>
    (level < low ? 0 : strongest * level / 255).toFixed(4));
  document.getElementById("opacities").setAttribute("tableValues", values.join(" "));
  controls.opacity_said.value = `${controls.opacity.value} %`;
  controls.low_said.value = (low / 255).toFixed(2);
  controls.querySelector(".hidden-part").setAttribute("width", low);
  document.body.classList.toggle("without-outlines", !controls.outlined.checked);
};

const open_at = () => {
  const [, kind, number] = location.hash.match(/^#(slice|candidate)-(\d+)$/) || [];
  const lesion = data.lesions.findIndex((one) => one.id === Number(number));
  const wanted = kind === "candidate" && lesion >= 0
    ? document.querySelector(`[data-lesion="${lesion}"]`)
    : document.querySelector('[data-lesion="0"]');
  if (kind === "slice") scrolled[0].go(Number(number) - 1);
  else if (wanted) jump(wanted);
  else scrolled[0].go(data.first);
};

scroll_all();
buttons.forEach(fill);
shade();
open_at();
controls.addEventListener("input", shade);
controls.addEventListener("submit", (event) => event.preventDefault());
controls.own.addEventListener("click", () => {
  controls.low.value = Math.floor(controls.own.value * 255 + 0.5);
  shade();
});
window.addEventListener("hashchange", open_at);
scrolled[0].pane.focus({ preventScroll: true });
