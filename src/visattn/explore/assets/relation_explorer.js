launch((view, data, uid) => {
  const { height: H, width: W } = data;
  const one = bytes(data.sequential), two = bytes(data.diverging);
  const relations = data.relations.map((r) => ({
    ...r, levels: bytes(r.levels), high: floats(r.high), low: floats(r.low), sums: floats(r.sums),
  }));
  const state = {
    pin: data.query, hover: null, key: null, relation: data.first, plain: true, shared: false,
  };
  let now = relations[data.first], panels = [];

  // ---- the weights ----
  const window_ = (group, [row, col]) => (group * H + row) * W + col;
  const largest = (at) => Math.max(Math.abs(now.high[at]), Math.abs(now.low[at]));
  function weight(at, cell) {
    const level = now.levels[at * now.size * now.size + cell];
    return (now.signed ? (level - 128) / 127 : level / 255) * largest(at);
  }

  // ---- the elements ----
  view.style.setProperty("--ve-dim", data.dim);
  const body = el("div", "ve-body"), pick = el("div", "ve-pick"), maps = el("div");
  view.append(body);
  body.append(pick, maps);
  const photo = picker(data, state, uid, "query pixel", draw), frame = el("div", "ve-box ve-frame");
  photo.box.append(frame);
  const where = el("span", "ve-name"), mode = el("span", "ve-soft"), readout = el("p", "ve-readout");
  readout.id = uid;
  const relation = chooser(uid + "-r", "Relation", relations.map((r) => r.name), (i) => {
    state.relation = i;
    build();
    draw();
    live.say(now.name + ". " + sentence());
  });
  pick.append(photo.box, caption(where, mode), relation, readout);

  const bar = el("div", "ve-bar"), scale = legend(one), live = announcer();
  const plain = button("Map only", () => { state.plain = true; draw(); });
  const over = button("Over the photo", () => { state.plain = false; draw(); });
  bar.append(buttons("View", plain, over),
    checkbox("Shared scale", (on) => { state.shared = on; draw(); }), scale);
  view.append(bar, live, el("p", "ve-note",
    "Hover over the photograph to try a query pixel, click or tap to keep it, or use the arrow keys. " +
    "The dashed frame is its window; each map shows the weights of that window for one channel group. " +
    "Hover over a map to read one weight. Rows and columns count from 0."));

  function build() { // the cards of one relation
    now = relations[state.relation];
    state.key = null;
    maps.className = "ve-maps" + (now.groups > 3 ? "" : " ve-few");
    const patch = stage(data, "ve-crop");
    patch.box.querySelector("img").alt = "The window of the query";
    panels = [{ ...patch, group: -1 }];
    for (let group = 0; group < now.groups; group++) {
      const map = canvas(now.size, now.size, "Group " + (group + 1) + ": weights of the window");
      panels.push({ ...stage(data, "ve-map ve-crop", map), map, group, meta: el("span", "ve-soft") });
    }
    maps.replaceChildren(...panels.map((panel) => {
      const holder = el("div", "ve-card"), { box, group, meta } = panel;
      box.style.aspectRatio = String(data.cell);
      box.style.setProperty("--ve-wide", (100 * W) / now.size + "%");
      box.style.setProperty("--ve-high", (100 * H) / now.size + "%");
      holder.append(box, el("div", "ve-name ve-head", group < 0 ? "The window" : "Group " + (group + 1)),
        caption(meta || el("span", "ve-soft", now.size + " × " + now.size + " pixels")));
      for (const kind of ["pointermove", "pointerdown"]) {
        box.addEventListener(kind, (event) => {
          state.key = { cell: locate(event, box, now.size, now.size), group: Math.max(group, 0) };
          draw();
        });
      }
      box.addEventListener("pointerleave", () => { state.key = null; draw(); });
      return holder;
    }));
  }

  // ---- drawing ----
  function draw(announce) {
    const query = state.hover || state.pin, [row, col] = query, half = (now.size - 1) / 2;
    const ramp = now.signed ? two : one;
    view.classList.toggle("ve-plain", state.plain);
    plain.setAttribute("aria-pressed", String(state.plain));
    over.setAttribute("aria-pressed", String(!state.plain));
    relation.select.value = state.relation;
    let common = 0;
    for (let group = 0; group < now.groups; group++) common = Math.max(common, largest(window_(group, query)));
    const top = state.shared ? exact(common) : "each map’s largest";
    scale.paint(ramp);
    scale.low.textContent = !now.signed ? "0" : state.shared ? "−" + top : "− largest";
    scale.top.textContent = now.signed && !state.shared ? "+ largest" : top;

    place(photo.query, state.pin, H, W);
    place(photo.ghost, state.hover, H, W);
    frame.style.top = (100 * (row - half)) / H + "%";
    frame.style.left = (100 * (col - half)) / W + "%";
    frame.style.height = (100 * now.size) / H + "%";
    frame.style.width = (100 * now.size) / W + "%";
    where.textContent = "Query: row " + row + ", column " + col;
    mode.textContent = state.hover ? "preview" : "pinned";

    for (const panel of panels) {
      panel.box.style.setProperty("--ve-left", (100 * (half - col)) / now.size + "%");
      panel.box.style.setProperty("--ve-top", (100 * (half - row)) / now.size + "%");
      place(panel.query, [half, half], now.size, now.size);
      place(panel.key, state.key && state.key.cell, now.size, now.size);
      if (panel.group >= 0) {
        const at = window_(panel.group, query);
        paint(panel.map, at, ramp, state.shared ? common : largest(at));
        panel.meta.textContent = meta(at);
      }
    }
    const said = sentence();
    readout.textContent = said;
    if (announce) live.say("Query row " + row + ", column " + col + ". " + said);
  }
  function paint(map, at, ramp, limit) {
    const context = map.getContext("2d"), pixels = context.createImageData(now.size, now.size);
    for (let cell = 0; cell < now.size * now.size; cell++) {
      const share = limit > 0 ? clamp(weight(at, cell) / limit, -1, 1) : 0;
      const opacity = state.plain ? 1 : data.alpha * Math.pow(Math.abs(share), data.gamma);
      dye(pixels.data, cell, ramp, now.signed ? 0.5 + share / 2 : share, opacity);
    }
    context.putImageData(pixels, 0, 0);
  }
  function meta(at) {
    if (state.key) return "here " + exact(weight(at, state.key.cell[0] * now.size + state.key.cell[1]));
    if (now.signed) return exact(now.low[at]) + " to " + exact(now.high[at]);
    return "max " + exact(now.high[at]);
  }
  function sentence() {
    const group = state.key ? state.key.group : 0, at = window_(group, state.hover || state.pin);
    const name = "Group " + (group + 1);
    if (state.key) {
      const half = (now.size - 1) / 2, [i, j] = state.key.cell.map((place) => place - half);
      return name + " gives the pixel at the offset (" + signed(i, 0) + ", " + signed(j, 0) + ") the weight " +
        exact(weight(at, state.key.cell[0] * now.size + state.key.cell[1])) + ".";
    }
    if (now.normalised) return name + " gives one pixel at most " + exact(now.high[at]) + "; the weights of every window sum to 1.";
    return name + " has weights from " + exact(now.low[at]) + " to " + exact(now.high[at]) +
      "; their sum here is " + exact(now.sums[at]) + ".";
  }
  function exact(w) {
    const most = Math.abs(w);
    if (most === 0) return "0";
    return most < 0.0005 ? (w < 0 ? "−" : "") + most.toExponential(0).replace("e-", "e−") : signed(w, most < 0.1 ? 3 : 2);
  }

  build();
  draw();
});
