launch((view, data, uid) => {
  const { height: H, width: W, heads } = data;
  const N = heads.length, size = H * W;
  const levels = bytes(data.levels), ramp = bytes(data.colours);
  const peaks = floats(data.peaks), spreads = floats(data.spreads);
  const cards = N > 1 && data.mean ? N + 1 : N; // the last may be the mean of the heads
  const state = { pin: data.query, hover: null, key: null, plain: false, shared: false };

  // ---- the weights ----
  function weight(card, query, key) {
    if (card < N) {
      const row = card * size + query;
      return (levels[row * size + key] / 255) * peaks[row];
    }
    let sum = 0;
    for (let n = 0; n < N; n++) sum += weight(n, query, key);
    return sum / N;
  }
  const peak = (card, query) => peaks[card * size + query];
  const spread = (card, query) => spreads[card * size + query];
  const name = (card) => (card < N ? heads[card] : "Mean of heads");
  function strongest(card, query) {
    let best = 0, most = -1;
    for (let key = 0; key < size; key++) {
      const w = weight(card, query, key);
      if (w > most) { most = w; best = key; }
    }
    return best;
  }

  // ---- the elements ----
  view.style.setProperty("--ve-dim", data.dim);
  const body = el("div", "ve-body"), pick = el("div", "ve-pick"), maps = el("div", cards > 4 ? "ve-maps" : "ve-maps ve-few");
  view.append(body);
  body.append(pick, maps);

  const photo = picker(data, state, uid, "query pixel", draw);
  const where = el("span", "ve-name"), mode = el("span", "ve-soft");
  pick.append(photo.box, caption(where, mode));

  const panels = [];
  for (let card = 0; card < cards; card++) {
    const holder = el("div", "ve-card"), map = canvas(W, H, name(card) + ": attention map");
    const panel = stage(data, "ve-map", map);
    panel.canvas = map;
    panel.pixels = map.getContext("2d").createImageData(W, H);
    panel.meta = el("span", "ve-soft");
    panel.spread = el("span", "ve-soft");
    holder.append(panel.box, el("div", "ve-name ve-head", name(card)),
      caption(panel.meta, panel.spread));
    maps.append(holder);
    panels.push(panel);
    panel.box.addEventListener("pointermove", (event) => readKey(event, panel, card));
    panel.box.addEventListener("pointerdown", (event) => readKey(event, panel, card));
    panel.box.addEventListener("pointerleave", () => { state.key = null; draw(); });
  }

  const bar = el("div", "ve-bar");
  const over = button("Over the photo", () => { state.plain = false; draw(); });
  const plain = button("Map only", () => { state.plain = true; draw(); });
  bar.append(buttons("View", over, plain));
  if (cards > 1) bar.append(checkbox("Shared scale", (on) => { state.shared = on; draw(); }));
  const scale = legend(ramp), readout = el("p", "ve-readout"), live = announcer();
  bar.append(scale);
  readout.id = uid;
  pick.append(readout);
  view.append(bar, live, el("p", "ve-note",
    "Hover over the photograph to try a query pixel, click or tap to keep it, or use the " +
    "arrow keys. Hover over a map to read one weight. Rows and columns count from 0. " +
    "~70 px: the attention is spread over about 70 pixels, exp(entropy)."));

  function readKey(event, panel, card) {
    const [row, col] = locate(event, panel.box, H, W);
    state.key = { row, col, card };
    draw();
  }

  // ---- drawing ----
  function draw(announce) {
    const [row, col] = state.hover || state.pin, query = row * W + col;
    view.classList.toggle("ve-plain", state.plain);
    over.setAttribute("aria-pressed", String(!state.plain));
    plain.setAttribute("aria-pressed", String(state.plain));
    let common = 0;
    for (let card = 0; card < cards; card++) common = Math.max(common, peak(card, query));
    scale.top.textContent = state.shared && cards > 1
      ? number(common) + ", largest of all"
      : cards > 1 ? "each map’s largest" : number(common);

    place(photo.query, state.pin, H, W);
    place(photo.ghost, state.hover, H, W);
    place(photo.key, state.key && [state.key.row, state.key.col], H, W);
    where.textContent = "Query: row " + row + ", column " + col;
    mode.textContent = state.hover ? "preview" : "pinned";

    panels.forEach((panel, card) => {
      paint(panel, card, query, state.shared ? common : peak(card, query));
      place(panel.query, [row, col], H, W);
      place(panel.key, state.key && [state.key.row, state.key.col], H, W);
      panel.meta.textContent = meta(card, query);
      panel.spread.textContent = peak(card, query) ? "~" + count(spread(card, query)) + " px" : "";
    });
    readout.textContent = sentence(query);
    if (announce) live.say("Query row " + row + ", column " + col + ". " + sentence(query));
  }
  function meta(card, query) {
    if (!peak(card, query)) return "fully masked";
    if (state.key) return "here " + number(weight(card, query, state.key.row * W + state.key.col));
    return "max " + number(peak(card, query));
  }
  function sentence(query) {
    const card = state.key ? state.key.card : 0;
    if (!peak(card, query)) return name(card) + ": every key is masked, all weights are 0.";
    const best = strongest(card, query), largest = number(peak(card, query));
    const most = " looks most at row " + Math.floor(best / W) + ", column " + (best % W) +
      " (" + largest + "), spread over about " + count(spread(card, query)) + " pixels.";
    if (!state.key) return name(card) + most;
    const { row: r, col: c } = state.key;
    return name(card) + " gives row " + r + ", column " + c + " the weight " +
      number(weight(card, query, r * W + c)) + "; its largest is " + largest + ".";
  }
  function paint(panel, card, query, most) {
    for (let key = 0; key < size; key++) {
      const share = most > 0 ? Math.min(1, weight(card, query, key) / most) : 0;
      const opacity = state.plain ? 1 : data.alpha * Math.pow(share, data.gamma);
      dye(panel.pixels.data, key, ramp, share, opacity);
    }
    panel.canvas.getContext("2d").putImageData(panel.pixels, 0, 0);
  }
  function count(pixels) {
    return pixels < 9.95 ? pixels.toFixed(1) : String(Math.round(pixels));
  }
  draw();
});
