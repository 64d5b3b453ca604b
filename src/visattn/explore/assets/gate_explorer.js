launch((view, data, uid) => {
  const { height: H, width: W } = data, LEVELS = 100; // pixels of a strip, across
  const ramp = bytes(data.colours);
  const state = { pin: data.query, hover: null, chosen: 0, rows: [], columns: [] };

  // ---- the gates to start from ----
  const bump = (length, ...centers) => Array.from({ length }, (_, i) => 0.05 + 0.9 * Math.max(
    ...centers.map((center) => Math.exp(-0.5 * ((i - center) / Math.max(0.6, length / 9)) ** 2))));
  const mean = (gates) => gates.reduce((sum, g) => sum + g, 0) / gates.length;
  const starts = [
    ...data.names.map((name, n) => [name, () => [[...data.rows[n]], [...data.columns[n]]]]),
    ["One object, at the mark", () => [bump(H, state.pin[0]), bump(W, state.pin[1])]],
    ["Two objects, on a diagonal", () => [bump(H, 0.22 * H, 0.74 * H), bump(W, 0.22 * W, 0.74 * W)]],
    ["Channel gate, the same everywhere", () => [
      Array(H).fill(mean(data.rows[0])), Array(W).fill(mean(data.columns[0]))]],
  ];
  const own = starts.length; // once a gate has been drawn

  // ---- the elements ----
  const body = el("div", "ve-body"), pick = el("div", "ve-pick ve-wide"), side = el("div", "ve-side");
  view.append(body);
  body.append(pick, side);
  const cross = el("div", "ve-cross"), photo = picker(data, state, uid, "mark", draw);
  const shade = canvas(W, H, "The photograph times the gate");
  photo.box.querySelector("img").after(shade);
  const left = strip("rows", "Gates of the rows", LEVELS, H), top = strip("columns", "Gates of the columns", W, LEVELS);
  cross.append(photo.box, left.box, top.box);
  const where = el("span", "ve-name"), mode = el("span", "ve-soft"), readout = el("p", "ve-readout ve-short");
  readout.id = uid;
  pick.append(cross, caption(where, mode));

  const product = canvas(W, H, "The gate: row gate times column gate"), holder = el("div", "ve-card");
  const map = stage({ ...data, image: null, thumbnail: true }, "ve-window", product);
  const range = el("span", "ve-soft");
  map.box.style.aspectRatio = String(data.aspect);
  holder.append(map.box, el("div", "ve-name ve-head", "The gate"), caption(range));
  side.append(holder);

  const start = chooser(uid + "-s", "Start from", [...starts.map(([name]) => name), "Your own gates"], (i) => begin(i));
  const row = slider(uid + "-r", "Gate of this row", { min: 0, max: 1, step: 0.01 }, (value) => set("rows", state.pin[0], value));
  const column = slider(uid + "-c", "Gate of this column", { min: 0, max: 1, step: 0.01 }, (value) => set("columns", state.pin[1], value));
  const live = announcer(), scale = legend(ramp);
  scale.top.textContent = "1";
  pick.append(readout, start);
  holder.append(scale, row, column);
  view.append(live, el("p", "ve-note",
    "Draw in the strip at the top to change the gates of the columns, in the strip at the left for those of the rows. " +
    "By keyboard: in a strip, the arrow keys along it move the mark and the arrow keys across it change the gate. " +
    "Click on the photograph to read one place. Rows and columns count from 0."));

  function strip(kind, name, width, height) {
    const box = el("div", "ve-stage ve-pixels ve-strip ve-" + kind), drawn = canvas(width, height, name + ", as bars");
    drawn.setAttribute("aria-hidden", "true"); // the slider around it speaks
    box.append(drawn);
    box.tabIndex = 0;
    box.setAttribute("role", "slider");
    box.setAttribute("aria-label", name);
    box.setAttribute("aria-orientation", kind === "rows" ? "horizontal" : "vertical");
    box.setAttribute("aria-valuemin", 0);
    box.setAttribute("aria-valuemax", 1);
    let last = null;
    box.addEventListener("pointerdown", (event) => {
      box.setPointerCapture(event.pointerId);
      last = null;
      stroke(event);
    });
    box.addEventListener("pointermove", (event) => {
      if (box.hasPointerCapture(event.pointerId)) stroke(event);
    });
    function stroke(event) { // from the last place to this one, so that no gate is skipped
      const gates = state[kind], at = box.getBoundingClientRect();
      const right = (event.clientX - at.left) / at.width, down = (event.clientY - at.top) / at.height;
      const value = clamp(kind === "rows" ? right : 1 - down, 0, 1);
      const place = clamp(Math.floor((kind === "rows" ? down : right) * gates.length), 0, gates.length - 1);
      const [from, old] = last || [place, value], step = Math.sign(place - from);
      for (let i = from; i !== place; i += step) gates[i] = old + ((value - old) * (i - from)) / (place - from);
      last = [place, value];
      state.pin = kind === "rows" ? [place, state.pin[1]] : [state.pin[0], place];
      set(kind, place, value);
    }
    box.addEventListener("keydown", (event) => {
      const axis = kind === "rows" ? 0 : 1, gates = state[kind], at = state.pin[axis];
      const whole = { Home: 0, End: 1 }[event.key], step = whole === undefined && arrow(event);
      if (whole !== undefined) {
        event.preventDefault();
        set(kind, at, whole);
      } else if (step && step[axis]) {
        state.pin = [...state.pin];
        state.pin[axis] = clamp(at + step[axis], 0, gates.length - 1);
        draw(true);
      } else if (step) {
        set(kind, at, Math.round(100 * clamp(gates[at] + 0.05 * (axis ? -step[0] : step[1]), 0, 1)) / 100);
      }
    });
    return { box, drawn };
  }

  // ---- the gates ----
  function begin(i) {
    state.chosen = i;
    if (i < own) [state.rows, state.columns] = starts[i][1]();
    draw(true);
  }
  function set(kind, at, value) {
    state[kind][at] = value;
    state.chosen = own;
    draw(true);
  }

  // ---- drawing ----
  function draw(announce) {
    const [i, j] = state.hover || state.pin, { rows, columns } = state;
    place(photo.query, state.pin, H, W);
    place(photo.ghost, state.hover, H, W);
    place(map.query, [i, j], H, W);
    where.textContent = "Mark: row " + i + ", column " + j;
    mode.textContent = state.hover ? "preview" : "pinned";

    paint(shade, (out, at, a, b) => { // black, as opaque as the gate is closed
      out[4 * at + 3] = Math.round(255 * (1 - rows[a] * columns[b]));
    });
    paint(product, (out, at, a, b) => dye(out, at, ramp, rows[a] * columns[b], 1));
    paint(left.drawn, (out, at, a, b) => barPixel(out, at, b < Math.round(LEVELS * rows[a]), a === i, [0, 158, 115]));
    paint(top.drawn, (out, at, a, b) => barPixel(out, at, LEVELS - a <= Math.round(LEVELS * columns[b]), b === j, [42, 143, 212]));

    for (const [box, gate, said] of [[left.box, rows[i], "row " + i], [top.box, columns[j], "column " + j]]) {
      box.setAttribute("aria-valuenow", gate.toFixed(2));
      box.setAttribute("aria-valuetext", said + ": " + gate.toFixed(2));
    }
    start.select.value = state.chosen;
    row.show(rows[state.pin[0]], rows[state.pin[0]].toFixed(2));
    column.show(columns[state.pin[1]], columns[state.pin[1]].toFixed(2));
    const low = Math.min(...rows) * Math.min(...columns), high = Math.max(...rows) * Math.max(...columns);
    range.textContent = low.toFixed(2) + " to " + high.toFixed(2) + ", mean " + (mean(rows) * mean(columns)).toFixed(2);
    const said = "Row gate " + rows[i].toFixed(3) + " × column gate " + columns[j].toFixed(3) +
      " = " + (rows[i] * columns[j]).toFixed(3) + ".";
    readout.textContent = said;
    if (announce === true) live.say("Row " + i + ", column " + j + ". " + said);
  }
  function paint(on, dot) {
    const context = on.getContext("2d"), pixels = context.createImageData(on.width, on.height);
    for (let at = 0, a = 0; a < on.height; a++) {
      for (let b = 0; b < on.width; b++, at++) dot(pixels.data, at, a, b);
    }
    context.putImageData(pixels, 0, 0);
  }
  function barPixel(out, at, filled, marked, colour) {
    const shown = marked ? [213, 94, 0] : colour;
    for (let c = 0; c < 3; c++) out[4 * at + c] = shown[c];
    out[4 * at + 3] = filled ? 255 : marked ? 60 : 0;
  }

  begin(0);
});
