// What every explorer uses. It stands in front of an explorer's own script, inside
// the same function.

const MARKS = ["query", "ghost", "key"];

function bytes(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}
function floats(text) {
  const raw = new DataView(bytes(text).buffer), out = new Float32Array(raw.byteLength / 4);
  for (let i = 0; i < out.length; i++) out[i] = raw.getFloat32(4 * i, true);
  return out;
}
function clamp(value, low, high) { return Math.min(high, Math.max(low, value)); }

// ---- elements ----
function el(tag, kind, text) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}
function caption(...parts) {
  const line = el("div", "ve-caption");
  line.append(...parts);
  return line;
}
function canvas(width, height, label) {
  const made = document.createElement("canvas");
  made.width = width;
  made.height = height;
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", label);
  return made;
}
function button(text, action) {
  const made = el("button", "", text);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}
function buttons(label, ...made) {
  const group = el("div", "ve-group");
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", label);
  group.append(...made);
  return group;
}
function checkbox(text, action) {
  const label = el("label", "ve-check"), input = document.createElement("input");
  input.type = "checkbox";
  input.addEventListener("change", () => action(input.checked));
  label.append(input, text);
  return label;
}
// A range input with its name and its value in words: .show(value, words).
function slider(id, text, { min, max, step }, action) {
  const line = el("div", "ve-control"), label = el("label", "", text);
  const input = document.createElement("input"), words = el("span", "ve-value");
  Object.assign(input, { type: "range", id, min, max, step });
  label.htmlFor = id;
  input.addEventListener("input", () => action(Number(input.value)));
  input.addEventListener("keydown", (event) => {
    if (event.key.startsWith("Arrow")) event.stopPropagation(); // a page may turn over
  });
  line.append(label, words, input);
  line.show = (value, said) => {
    input.value = value;
    words.textContent = said;
    input.setAttribute("aria-valuetext", said);
  };
  line.input = input;
  return line;
}
function chooser(id, text, options, action) {
  const line = el("div", "ve-control"), label = el("label", "", text);
  const select = document.createElement("select");
  select.id = id;
  label.htmlFor = id;
  line.fill = (names) => select.replaceChildren(...names.map((name, i) => {
    const option = el("option", "", name);
    option.value = i;
    return option;
  }));
  line.fill(options);
  select.addEventListener("change", () => action(Number(select.value)));
  line.append(label, select);
  line.select = select;
  return line;
}
// Speaks once the keys rest.
function announcer() {
  const live = el("div", "ve-live");
  let waiting = 0;
  live.setAttribute("aria-live", "polite");
  live.say = (text) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { live.textContent = text; }, 250);
  };
  return live;
}

// ---- a picture with marked cells ----
function stage(data, kind, ...layers) {
  const box = el("div", "ve-stage" + (kind ? " " + kind : "") + (data.thumbnail ? " ve-pixels" : ""));
  if (data.image) box.append(photograph(data, kind ? "" : data.alt));
  box.append(...layers);
  const parts = { box };
  for (const mark of MARKS) {
    parts[mark] = el("div", "ve-box ve-" + mark);
    parts[mark].hidden = true;
    box.append(parts[mark]);
  }
  return parts;
}
function photograph(data, alt) {
  const img = document.createElement("img");
  img.className = "dark-light"; // themes leave such an image alone
  img.alt = alt;
  img.draggable = false;
  img.src = data.image;
  return img;
}
function place(box, cell, H, W) {
  box.hidden = !cell;
  if (!cell) return;
  box.style.top = (100 * cell[0]) / H + "%";
  box.style.left = (100 * cell[1]) / W + "%";
  box.style.height = 100 / H + "%";
  box.style.width = 100 / W + "%";
}
function locate(event, box, H, W) {
  const at = box.getBoundingClientRect();
  const row = Math.floor(((event.clientY - at.top) / at.height) * H);
  const col = Math.floor(((event.clientX - at.left) / at.width) * W);
  return [clamp(row, 0, H - 1), clamp(col, 0, W - 1)];
}
function arrow(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step) return null;
  event.preventDefault();
  event.stopPropagation(); // a page may turn over on arrow keys
  return step;
}
// The photograph on which a reader moves the query: state.pin, and state.hover as a preview.
function picker(data, state, id, what, draw) {
  const { height: H, width: W } = data, parts = stage(data, ""), box = parts.box;
  box.tabIndex = 0;
  box.setAttribute("role", "application");
  box.setAttribute("aria-roledescription", what + " picker");
  box.setAttribute("aria-label", "Photograph. The arrow keys move the " + what + ".");
  box.setAttribute("aria-describedby", id);
  box.addEventListener("pointermove", (event) => {
    const cell = locate(event, box, H, W);
    if (event.pointerType === "mouse") state.hover = cell;
    else if (event.buttons) state.pin = cell;
    draw();
  });
  box.addEventListener("pointerleave", () => { state.hover = null; draw(); });
  box.addEventListener("click", (event) => {
    state.pin = locate(event, box, H, W);
    state.hover = null;
    draw(true);
  });
  box.addEventListener("keydown", (event) => {
    const step = arrow(event);
    if (!step) return;
    state.hover = null;
    state.pin = [clamp(state.pin[0] + step[0], 0, H - 1), clamp(state.pin[1] + step[1], 0, W - 1)];
    draw(true);
  });
  return parts;
}

// ---- colours and numbers ----
function gradient(ramp) {
  const stops = [];
  for (let i = 0; i <= 12; i++) {
    const tone = 3 * Math.round((255 * i) / 12);
    stops.push("rgb(" + ramp[tone] + "," + ramp[tone + 1] + "," + ramp[tone + 2] + ")");
  }
  return "linear-gradient(90deg," + stops.join(",") + ")";
}
function dye(out, at, ramp, share, opacity) {
  const tone = 3 * Math.round(255 * clamp(share, 0, 1));
  out[4 * at] = ramp[tone];
  out[4 * at + 1] = ramp[tone + 1];
  out[4 * at + 2] = ramp[tone + 2];
  out[4 * at + 3] = 255 * opacity;
}
function legend(ramp) {
  const line = el("span", "ve-legend"), strip = el("span", "ve-ramp");
  line.low = el("span", "", "0");
  line.top = el("span");
  line.paint = (colours) => { strip.style.background = gradient(colours); };
  line.paint(ramp);
  line.append(line.low, strip, line.top);
  return line;
}
function number(w) {
  if (w === 0) return "≈0"; // less than half a level, or masked
  return w < 0.00005 ? "<0.0001" : w < 0.001 ? w.toFixed(4) : w < 0.1 ? w.toFixed(3) : w.toFixed(2);
}
function signed(w, digits) {
  const text = w.toFixed(digits === undefined ? 3 : digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

// ---- the start ----
// Calls start(view, data, uid), once per explorer, and shows the view it has filled.
function launch(start) {
  function begin(root) {
    if (root.dataset.started) return; // the output may be run twice
    root.dataset.started = "true";
    const data = JSON.parse(
      root.querySelector('script[type="application/json"]').textContent);
    const uid = "ve-" + root.dataset.key + "-" + // the same explorer may stand twice
      document.querySelectorAll(".visattn-explorer[data-started]").length;
    const view = el("div", "ve-view");
    root.querySelector(".ve-static").replaceWith(view);
    if (data.title) view.append(el("p", "ve-title", data.title));
    start(view, data, uid);
  }
  function startAll() {
    const own = script && script.closest(".visattn-explorer");
    if (own) begin(own);
    document.querySelectorAll('.visattn-explorer[data-key="EXPLORER_KEY"]').forEach(begin);
  }
  startAll();
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startAll);
}
