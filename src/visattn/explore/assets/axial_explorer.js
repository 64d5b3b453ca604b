launch((view, data, uid) => {
  const { height: H, width: W, gates } = data, ramp = bytes(data.colours);
  const [columns, rows] = [data.columns, data.rows].map((lines) => ({
    levels: bytes(lines.levels), peaks: floats(lines.peaks), entropy: floats(lines.entropy),
  }));
  const state = { pin: data.query, hover: null, key: null, plain: false, channel: 0 };

  // ---- the weights ----
  const weight = (lines, at, length, key) => (lines.levels[at * length + key] / 255) * lines.peaks[at];
  const column = (b, i, a) => weight(columns, b * H + i, H, a); // of (a, b) on (i, b)
  const row = (i, j, b) => weight(rows, i * W + j, W, b); // of (i, b) on (i, j)
  const joint = (i, j, a, b) => row(i, j, b) * column(b, i, a);
  function strongest([i, j]) {
    let best = [i, j], most = -1;
    for (let a = 0; a < H; a++) {
      for (let b = 0; b < W; b++) {
        const w = joint(i, j, a, b);
        if (w > most) { most = w; best = [a, b]; }
      }
    }
    return best;
  }
  function spread([i, j]) { // exp(entropy) of the joint weights
    let sum = rows.entropy[i * W + j];
    for (let b = 0; b < W; b++) sum += row(i, j, b) * columns.entropy[b * H + i];
    return Math.exp(sum);
  }

  // ---- the elements ----
  view.style.setProperty("--ve-dim", data.dim);
  const body = el("div", "ve-body"), pick = el("div", "ve-pick"), maps = el("div", "ve-maps ve-pairs");
  view.append(body);
  body.append(pick, maps);
  const photo = picker(data, state, uid, "query pixel", (announce) => { state.key = null; draw(announce); });
  const where = el("span", "ve-name"), mode = el("span", "ve-soft"), readout = el("p", "ve-readout");
  readout.id = uid;
  pick.append(photo.box, caption(where, mode), readout);

  const first = card("1. Column map", "Column map"), second = card("2. Row map", "Row map");
  for (const panel of [first, second]) {
    panel.line = el("div", "ve-box ve-frame ve-line");
    panel.map.after(panel.line);
  }
  const both = card("Both passes", "Joint map: the weights of both passes");
  const way = el("div", "ve-box ve-way");
  both.box.append(way);
  reads(first, ([a]) => [a, (state.hover || state.pin)[1]]);
  reads(second, ([, b]) => [(state.hover || state.pin)[0], b]);
  reads(both, (cell) => cell);
  both.box.tabIndex = 0;
  both.box.setAttribute("role", "application");
  both.box.setAttribute("aria-roledescription", "source pixel picker");
  both.box.setAttribute("aria-label", "Joint map. The arrow keys move the source pixel.");
  both.box.setAttribute("aria-describedby", uid);
  both.box.addEventListener("keydown", (event) => {
    const step = arrow(event);
    if (!step) return;
    const [a, b] = source();
    state.key = [clamp(a + step[0], 0, H - 1), clamp(b + step[1], 0, W - 1)];
    draw(true);
  });
  both.box.addEventListener("blur", () => { state.key = null; draw(); });

  const bar = el("div", "ve-bar"), scale = legend(ramp), live = announcer();
  const over = button("Over the photo", () => { state.plain = false; draw(); });
  const plain = button("Map only", () => { state.plain = true; draw(); });
  scale.top.textContent = "each map’s largest";
  bar.append(buttons("View", over, plain), scale);
  const gate = gates.rows || gates.columns ? gateCard() : null;
  view.append(bar, live, el("p", "ve-note",
    "Click or tap on the photograph to choose a pixel, hover to try one, or use the arrow keys. The column " +
    "pass runs first and the row pass on its result: pixel (a, b) goes along column b to the row of the query, " +
    "and then along this row to the query. So the first step uses the column map of column b, not that of the " +
    "query’s own column. Hover over the joint map, or move in it with the arrow keys, to see the way of another " +
    "pixel; the first map then shows its column. Rows and columns count from 0."));

  function card(name, label) {
    const map = canvas(W, H, label), made = { map, ...stage(data, "ve-map", map) };
    const holder = el("div", "ve-card");
    made.name = el("div", "ve-name ve-head", name);
    made.left = el("span", "ve-soft");
    made.right = el("span", "ve-soft");
    holder.append(made.box, made.name, caption(made.left, made.right));
    maps.append(holder);
    return made;
  }
  function reads(panel, cell) {
    for (const kind of ["pointermove", "pointerdown"]) {
      panel.box.addEventListener(kind, (event) => {
        state.key = cell(locate(event, panel.box, H, W));
        draw();
      });
    }
    panel.box.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") state.key = null; // a finger leaves with every tap
      draw();
    });
  }
  function gateCard() {
    const holder = el("div", "ve-card"), cross = el("div", "ve-cross ve-small");
    const product = canvas(W, H, "The gate of every query pixel");
    const map = stage({ ...data, image: null, thumbnail: true }, "ve-window", product);
    map.box.style.aspectRatio = String(data.aspect);
    cross.append(map.box);
    const strips = {};
    for (const kind of ["rows", "columns"]) {
      if (!gates[kind]) continue;
      const box = el("div", "ve-stage ve-pixels ve-strip ve-" + kind);
      const drawn = kind === "rows" ? canvas(100, H, "Gates of the rows, as bars") : canvas(W, 100, "Gates of the columns, as bars");
      box.append(drawn);
      cross.append(box);
      strips[kind] = drawn;
    }
    const meta = caption();
    meta.classList.add("ve-terms");
    holder.append(cross, el("div", "ve-name ve-head", "Gates"), meta);
    if (data.names.length > 1) {
      pick.append(chooser(uid + "-g", "Gates of", data.names, (n) => { state.channel = n; draw(true); }));
    }
    maps.append(holder);
    return { map, product, strips, meta };
  }

  // ---- drawing ----
  const query = () => state.hover || state.pin;
  const source = () => state.key || strongest(query());
  const gateOf = (kind, at) => (gates[kind] ? gates[kind][state.channel][at] : 1);
  function draw(announce) {
    const [i, j] = query(), [a, b] = source(), shown = state.key ? b : j;
    view.classList.toggle("ve-plain", state.plain);
    over.setAttribute("aria-pressed", String(!state.plain));
    plain.setAttribute("aria-pressed", String(state.plain));
    place(photo.query, state.pin, H, W);
    place(photo.ghost, state.hover, H, W);
    place(photo.key, state.key, H, W);
    where.textContent = "Query: row " + i + ", column " + j;
    mode.textContent = state.hover ? "preview" : "pinned";

    const alone = columns.peaks[shown * H + i], along = rows.peaks[i * W + j], top = strongest([i, j]);
    const most = joint(i, j, ...top);
    paint(first.map, alone, (p, q) => (q === shown ? column(shown, i, p) : 0));
    paint(second.map, along, (p, q) => (p === i ? row(i, j, q) : 0));
    paint(both.map, most, (p, q) => joint(i, j, p, q));
    place(first.query, [i, shown], H, W);
    place(first.key, state.key && [a, shown], H, W);
    place(second.query, [i, j], H, W);
    place(second.key, state.key && [i, b], H, W);
    place(both.query, [i, j], H, W);
    place(both.key, [a, b], H, W);
    place(first.line, [0, shown], 1, W);
    place(second.line, [i, 0], H, 1);
    drawWay([i, j], [a, b]);
    first.name.textContent = "1. Map of column " + shown;
    second.name.textContent = "2. Map of row " + i;
    first.left.textContent = state.key ? "here " + number(column(b, i, a)) : "max " + number(alone);
    first.right.textContent = "to row " + i;
    second.left.textContent = state.key ? "here " + number(row(i, j, b)) : "max " + number(along);
    second.right.textContent = "to column " + j;
    both.left.textContent = state.key ? "here " + number(joint(i, j, a, b)) : "max " + number(most);
    both.right.textContent = most > 0 ? "~" + count(spread([i, j])) + " px" : "";
    if (gate) drawGates(i, j);

    const said = sentence([i, j], [a, b]);
    readout.textContent = said;
    if (announce === true) live.say("Query row " + i + ", column " + j + ". " + said);
  }
  function sentence([i, j], [a, b]) {
    const one = column(b, i, a), two = row(i, j, b);
    if (one * two === 0 && !state.key) return "Every key is masked: all weights are 0.";
    const from = (state.key ? "From row " : "Most comes from row ") + a + ", column " + b + ": ";
    const total = from + "along column " + b + " to row " + i + " with " + number(one) + ", then along row " + i +
      " to column " + j + " with " + number(two) + "; together " + number(one * two) + ".";
    if (!gate) return total;
    return total + " Times the gates: " + number(one * two * gateOf("rows", i) * gateOf("columns", j)) + ".";
  }
  function drawWay([i, j], [a, b]) { // down or up column b, then along row i
    way.style.top = (100 * (Math.min(a, i) + 0.5)) / H + "%";
    way.style.left = (100 * (Math.min(b, j) + 0.5)) / W + "%";
    way.style.height = (100 * Math.abs(a - i)) / H + "%";
    way.style.width = (100 * Math.abs(b - j)) / W + "%";
    const sides = [i <= a && b !== j, b > j, i > a && b !== j, b < j || (b === j && a !== i)];
    way.style.borderWidth = sides.map((on) => (on ? "2px" : "0")).join(" ");
  }
  function drawGates(i, j) {
    fill(gate.product, (out, at, p, q) => dye(out, at, ramp, gateOf("rows", p) * gateOf("columns", q), 1));
    for (const [kind, drawn] of Object.entries(gate.strips)) {
      fill(drawn, (out, at, p, q) => {
        const line = kind === "rows" ? p : q, level = kind === "rows" ? q : 99 - p;
        const on = line === (kind === "rows" ? i : j);
        const colour = on ? [213, 94, 0] : kind === "rows" ? [0, 158, 115] : [42, 143, 212];
        for (let c = 0; c < 3; c++) out[4 * at + c] = colour[c];
        out[4 * at + 3] = level < Math.round(100 * gateOf(kind, line)) ? 255 : on ? 60 : 0;
      });
    }
    place(gate.map.query, [i, j], H, W);
    const terms = [];
    if (gates.rows) terms.push("row " + gateOf("rows", i).toFixed(2));
    if (gates.columns) terms.push((gates.rows ? "× " : "") + "column " + gateOf("columns", j).toFixed(2));
    if (terms.length > 1) terms.push("= " + (gateOf("rows", i) * gateOf("columns", j)).toFixed(2));
    gate.meta.replaceChildren(...terms.map((term) => el("span", "ve-soft", term)));
  }
  function paint(map, most, value) {
    fill(map, (out, at, p, q) => {
      const share = most > 0 ? Math.min(1, value(p, q) / most) : 0;
      dye(out, at, ramp, share, state.plain ? 1 : data.alpha * Math.pow(share, data.gamma));
    });
  }
  function fill(map, dot) {
    const context = map.getContext("2d"), pixels = context.createImageData(map.width, map.height);
    for (let at = 0, p = 0; p < map.height; p++) {
      for (let q = 0; q < map.width; q++, at++) dot(pixels.data, at, p, q);
    }
    context.putImageData(pixels, 0, 0);
  }
  function count(px) { return px < 9.95 ? px.toFixed(1) : String(Math.round(px)); }
  draw();
});
