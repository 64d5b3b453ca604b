(function (script) {
  "use strict";

  function start(root) {
    if (root.dataset.started) return; // the output may be run twice
    root.dataset.started = "true";
    const data = JSON.parse(
      root.querySelector('script[type="application/json"]').textContent);
    const { height: H, width: W, heads } = data;
    const N = heads.length, size = H * W;
    const levels = bytes(data.levels), ramp = bytes(data.colours);
    const peaks = floats(data.peaks), spreads = floats(data.spreads);
    const cards = N > 1 && data.mean ? N + 1 : N; // the last may be the mean of the heads
    const state = { pin: data.query, hover: null, key: null, plain: false, shared: false };
    const uid = "ve-" + root.dataset.key + "-" + // the same explorer may stand twice
      document.querySelectorAll(".visattn-explorer[data-started]").length;

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
    const view = el("div", "ve-view");
    root.querySelector(".ve-static").replaceWith(view);
    view.style.setProperty("--ve-dim", data.dim);
    if (data.title) view.append(el("p", "ve-title", data.title));
    const body = el("div", "ve-body"), pick = el("div", "ve-pick"), maps = el("div", cards > 4 ? "ve-maps" : "ve-maps ve-few");
    view.append(body);
    body.append(pick, maps);

    const picker = stage(false);
    picker.box.tabIndex = 0;
    picker.box.setAttribute("role", "application");
    picker.box.setAttribute("aria-roledescription", "query pixel picker");
    picker.box.setAttribute("aria-label", "Photograph. The arrow keys move the query pixel.");
    picker.box.setAttribute("aria-describedby", uid);
    const where = el("span", "ve-name"), mode = el("span", "ve-soft");
    pick.append(picker.box, caption(where, mode));

    const panels = [];
    for (let card = 0; card < cards; card++) {
      const holder = el("div", "ve-card"), panel = stage(true);
      panel.canvas.setAttribute("role", "img");
      panel.canvas.setAttribute("aria-label", name(card) + ": attention map");
      panel.pixels = panel.canvas.getContext("2d").createImageData(W, H);
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

    const bar = el("div", "ve-bar"), group = el("div", "ve-group");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", "View");
    const over = button("Over the photo", false), plain = button("Map only", true);
    group.append(over, plain);
    bar.append(group);
    const shared = document.createElement("input");
    shared.type = "checkbox";
    if (cards > 1) {
      const check = el("label", "ve-check");
      check.append(shared, "Shared scale");
      bar.append(check);
    }
    const legend = el("span", "ve-legend"), strip = el("span", "ve-ramp"), top = el("span");
    legend.append(el("span", "", "0"), strip, top);
    bar.append(legend);
    const readout = el("p", "ve-readout"), live = el("div", "ve-live");
    readout.id = uid;
    live.setAttribute("aria-live", "polite");
    pick.append(readout);
    view.append(bar, live, el("p", "ve-note",
      "Hover over the photograph to try a query pixel, click or tap to keep it, or use the " +
      "arrow keys. Hover over a map to read one weight. Rows and columns count from 0. " +
      "~70 px: the attention is spread over about 70 pixels, exp(entropy)."));

    // ---- the events ----
    picker.box.addEventListener("pointermove", (event) => {
      const place = locate(event, picker.box);
      if (event.pointerType === "mouse") state.hover = place;
      else if (event.buttons) pin(place);
      draw();
    });
    picker.box.addEventListener("pointerleave", () => { state.hover = null; draw(); });
    picker.box.addEventListener("click", (event) => {
      pin(locate(event, picker.box));
      state.hover = null;
      draw(true);
    });
    picker.box.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation(); // a page may turn over on arrow keys
      state.hover = null;
      pin([Math.min(H - 1, Math.max(0, state.pin[0] + step[0])),
        Math.min(W - 1, Math.max(0, state.pin[1] + step[1]))]);
      draw(true);
    });
    shared.addEventListener("change", () => { state.shared = shared.checked; draw(); });

    function pin(place) { state.pin = place; }
    function readKey(event, panel, card) {
      const [row, col] = locate(event, panel.box);
      state.key = { row, col, card };
      draw();
    }

    // ---- drawing ----
    let announced = 0;
    function draw(announce) {
      const [row, col] = state.hover || state.pin, query = row * W + col;
      view.classList.toggle("ve-plain", state.plain);
      over.setAttribute("aria-pressed", String(!state.plain));
      plain.setAttribute("aria-pressed", String(state.plain));
      let common = 0;
      for (let card = 0; card < cards; card++) common = Math.max(common, peak(card, query));
      strip.style.background = gradient();
      top.textContent = state.shared && cards > 1
        ? number(common) + ", largest of all"
        : cards > 1 ? "each map’s largest" : number(common);

      place(picker.query, state.pin);
      place(picker.ghost, state.hover);
      place(picker.key, state.key && [state.key.row, state.key.col]);
      where.textContent = "Query: row " + row + ", column " + col;
      mode.textContent = state.hover ? "preview" : "pinned";

      panels.forEach((panel, card) => {
        paint(panel, card, query, state.shared ? common : peak(card, query));
        place(panel.query, [row, col]);
        place(panel.key, state.key && [state.key.row, state.key.col]);
        panel.meta.textContent = meta(card, query);
        panel.spread.textContent = peak(card, query) ? "~" + count(spread(card, query)) + " px" : "";
      });
      readout.textContent = sentence(query);
      if (announce) {
        clearTimeout(announced); // speak once the keys rest
        announced = setTimeout(() => {
          live.textContent = "Query row " + row + ", column " + col + ". " + sentence(query);
        }, 250);
      }
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
    function paint(panel, card, query, scale) {
      const out = panel.pixels.data;
      for (let key = 0; key < size; key++) {
        const share = scale > 0 ? Math.min(1, weight(card, query, key) / scale) : 0;
        const tone = 3 * Math.round(255 * share);
        out[4 * key] = ramp[tone];
        out[4 * key + 1] = ramp[tone + 1];
        out[4 * key + 2] = ramp[tone + 2];
        out[4 * key + 3] = state.plain ? 255 : 255 * data.alpha * Math.pow(share, data.gamma);
      }
      panel.canvas.getContext("2d").putImageData(panel.pixels, 0, 0);
    }
    function gradient() {
      const stops = [];
      for (let i = 0; i <= 12; i++) {
        const tone = 3 * Math.round((255 * i) / 12);
        stops.push("rgb(" + ramp[tone] + "," + ramp[tone + 1] + "," + ramp[tone + 2] + ")");
      }
      return "linear-gradient(90deg," + stops.join(",") + ")";
    }

    // ---- small helpers ----
    function stage(isMap) {
      const box = el("div", "ve-stage" + (isMap ? " ve-map" : "") + (data.thumbnail ? " ve-pixels" : ""));
      const img = document.createElement("img");
      img.className = "dark-light"; // themes leave such an image alone
      img.alt = isMap ? "" : data.alt;
      img.draggable = false;
      img.src = data.image;
      box.append(img);
      const parts = { box };
      if (isMap) {
        parts.canvas = document.createElement("canvas");
        parts.canvas.width = W;
        parts.canvas.height = H;
        box.append(parts.canvas);
      }
      for (const kind of ["query", "ghost", "key"]) {
        parts[kind] = el("div", "ve-box ve-" + kind);
        parts[kind].hidden = true;
        box.append(parts[kind]);
      }
      return parts;
    }
    function place(box, cell) {
      box.hidden = !cell;
      if (!cell) return;
      box.style.top = (100 * cell[0]) / H + "%";
      box.style.left = (100 * cell[1]) / W + "%";
      box.style.height = 100 / H + "%";
      box.style.width = 100 / W + "%";
    }
    function locate(event, box) {
      const at = box.getBoundingClientRect();
      const row = Math.floor(((event.clientY - at.top) / at.height) * H);
      const col = Math.floor(((event.clientX - at.left) / at.width) * W);
      return [Math.min(H - 1, Math.max(0, row)), Math.min(W - 1, Math.max(0, col))];
    }
    function button(text, isPlain) {
      const made = el("button", "", text);
      made.type = "button";
      made.addEventListener("click", () => { state.plain = isPlain; draw(); });
      return made;
    }
    function caption(...parts) {
      const line = el("div", "ve-caption");
      line.append(...parts);
      return line;
    }
    function el(tag, kind, text) {
      const made = document.createElement(tag);
      if (kind) made.className = kind;
      if (text !== undefined) made.textContent = text;
      return made;
    }
    function number(w) {
      if (w === 0) return "≈0"; // less than half a level, or masked
      return w < 0.00005 ? "<0.0001" : w < 0.001 ? w.toFixed(4) : w < 0.1 ? w.toFixed(3) : w.toFixed(2);
    }
    function count(pixels) {
      return pixels < 9.95 ? pixels.toFixed(1) : String(Math.round(pixels));
    }
    draw();
  }

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

  function startAll() {
    const own = script && script.closest(".visattn-explorer");
    if (own) start(own);
    document.querySelectorAll('.visattn-explorer[data-key="EXPLORER_KEY"]').forEach(start);
  }
  startAll();
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startAll);
})(document.currentScript);
