launch((view, data, uid) => {
  const { height: H, width: W, reach: R, kernels } = data;
  const span = 2 * R + 1, tile = span + 1; // a map of one head, and the gap after it
  const x = Float64Array.from(bytes(data.grey), (level) => level / 255);
  const ramp = bytes(data.sequential), two = bytes(data.diverging);
  const SMALLEST = -16, LARGEST = 1; // the scale of the difference, powers of ten
  const state = {
    pin: data.query, hover: null, kernel: 0, size: 3, alpha: data.alpha, head: 0,
    K: [0, 0], w: [], places: [], centers: [], shown: null,
  };

  // ---- the mathematics, in double precision ----
  function chooseKernel() {
    const { given, sizes } = kernels[state.kernel];
    const rows = given || sizes[state.size - 1];
    state.K = [rows.length, rows[0].length];
    state.w = rows.flat();
    state.places = state.w.map((_, n) => [
      Math.floor(n / state.K[1]) - Math.floor((state.K[0] - 1) / 2),
      (n % state.K[1]) - Math.floor((state.K[1] - 1) / 2)]);
    state.head = 0;
    heads.fill(state.w.map((w, n) => (n + 1) + ": (" +
      state.places[n].map((d) => signed(d, 0)).join(", ") + "), w = " + signed(w)));
    theorem();
  }
  function theorem() { state.centers = state.places.map((place) => [...place]); }
  // softmax over keys of -alpha (key - query - shift)^2, for one query
  function softmax(length, query, shift) {
    const out = new Float64Array(length);
    let least = Infinity, sum = 0;
    for (let k = 0; k < length; k++) {
      out[k] = (k - query - shift) ** 2;
      least = Math.min(least, out[k]);
    }
    for (let k = 0; k < length; k++) {
      out[k] = Math.exp(-state.alpha * (out[k] - least));
      sum += out[k];
    }
    for (let k = 0; k < length; k++) out[k] /= sum;
    return out;
  }
  function axis(length, shift, known) { // of all queries; heads share their shifts
    if (!known.has(shift)) {
      known.set(shift, Array.from({ length }, (_, query) => softmax(length, query, shift)));
    }
    return known.get(shift);
  }
  function attend() {
    const y = new Float64Array(H * W), part = new Float64Array(H * W);
    const rows = new Map(), cols = new Map();
    state.centers.forEach(([down, right], n) => {
      const p = axis(H, down, rows), q = axis(W, right, cols), w = state.w[n];
      for (let a = 0; a < H; a++) {
        for (let j = 0; j < W; j++) {
          let sum = 0;
          for (let b = 0; b < W; b++) sum += q[j][b] * x[a * W + b];
          part[a * W + j] = sum;
        }
      }
      for (let i = 0; i < H; i++) {
        for (let a = 0; a < H; a++) {
          const weight = w * p[i][a];
          if (weight === 0) continue;
          for (let j = 0; j < W; j++) y[i * W + j] += weight * part[a * W + j];
        }
      }
    });
    return y;
  }
  function convolve() { // with a replicated border
    const y = new Float64Array(H * W);
    state.places.forEach(([down, right], n) => {
      for (let i = 0; i < H; i++) {
        const a = clamp(i + down, 0, H - 1) * W;
        for (let j = 0; j < W; j++) y[i * W + j] += state.w[n] * x[a + clamp(j + right, 0, W - 1)];
      }
    });
    return y;
  }
  function compute() {
    const attention = attend(), convolution = convolve();
    const difference = attention.map((y, i) => y - convolution[i]);
    let low = Infinity, high = -Infinity, error = 0;
    for (const y of convolution) { low = Math.min(low, y); high = Math.max(high, y); }
    for (const d of difference) error = Math.max(error, Math.abs(d));
    state.shown = { attention, convolution, difference, low, high, error };
  }
  // the kernels around one query: what the heads add up to, and the convolution's own
  function around([row, col]) {
    const heads = state.centers.map(([down, right]) => {
      const p = softmax(H, row, down), q = softmax(W, col, right), map = new Float64Array(span * span);
      eachNear(row, col, (at, i, j) => { map[at] = p[i] * q[j]; });
      return map;
    });
    const ours = new Float64Array(span * span), own = new Float64Array(span * span);
    heads.forEach((map, n) => map.forEach((p, at) => { ours[at] += state.w[n] * p; }));
    state.places.forEach(([down, right], n) => {
      const i = clamp(row + down, 0, H - 1) - row + R, j = clamp(col + right, 0, W - 1) - col + R;
      own[i * span + j] += state.w[n];
    });
    return { heads, ours, own };
  }
  function eachNear(row, col, action) {
    for (let i = row - R; i <= row + R; i++) {
      for (let j = col - R; j <= col + R; j++) {
        if (i < 0 || j < 0 || i >= H || j >= W) continue;
        action((i - row + R) * span + (j - col + R), i, j);
      }
    }
  }

  // ---- the elements ----
  const body = el("div", "ve-body"), pick = el("div", "ve-pick"), maps = el("div", "ve-maps ve-six");
  view.append(body);
  body.append(pick, maps);
  const photo = picker(data, state, uid, "query pixel", draw);
  const where = el("span", "ve-name"), mode = el("span", "ve-soft"), readout = el("p", "ve-readout");
  readout.id = uid;
  pick.append(photo.box, caption(where, mode), readout);

  const ours = card("Kernel of the attention", "The kernel that the heads add up to, around the query", span, span, "ve-window");
  const own = card("Kernel of the convolution", "The kernel of the convolution, around the query", span, span, "ve-window");
  const attended = card("Attention", "The photograph filtered by the attention", W, H);
  const convolved = card("Convolution", "The photograph filtered by the convolution", W, H);
  const tiles = card("Maps of the heads", "One attention map per head, around the query", span, span, "ve-tiles");
  const rest = card("Attention − convolution", "The difference of the filtered photographs", W, H);
  const frame = el("div", "ve-box ve-chosen"), dots = el("div", "ve-dots");
  tiles.box.append(frame);
  ours.box.append(dots);

  const controls = el("div", "ve-controls");
  const kernel = chooser(uid + "-k", "Kernel", kernels.map((one) => one.name), (i) => {
    state.kernel = i;
    chooseKernel();
    update();
  });
  const size = slider(uid + "-s", "Kernel size", { min: 1, max: 5, step: 1 }, (value) => {
    state.size = value;
    chooseKernel();
    update();
  });
  const [least, most] = data.alphas.map(Math.log10);
  const alpha = slider(uid + "-a", "Sharpness α", { min: least, max: most, step: 0.01 }, (value) => {
    state.alpha = 10 ** value;
    update();
  });
  const heads = chooser(uid + "-h", "Head", [], (n) => { state.head = n; draw(); });
  const down = slider(uid + "-r", "Its centre, rows down", { min: -R, max: R, step: 0.05 }, (value) => move(value, null));
  const right = slider(uid + "-c", "Its centre, columns right", { min: -R, max: R, step: 0.05 }, (value) => move(null, value));
  const reset = button("Centres of Theorem 1", () => { theorem(); update(); });
  controls.append(heads, down, right);

  const meter = el("div", "ve-meter"), bar = el("div", "ve-track"), mark = el("div", "ve-mark");
  const verdict = el("p", "ve-verdict"), ticks = el("div", "ve-ticks");
  bar.setAttribute("role", "meter");
  bar.setAttribute("aria-label", "Largest difference between attention and convolution, power of ten");
  bar.setAttribute("aria-valuemin", SMALLEST);
  bar.setAttribute("aria-valuemax", LARGEST);
  bar.append(mark);
  for (const [power, text] of [[-16, "float64 rounding"], [-7, "float32 rounding"], [-2.41, "1 grey level"], [0, "1"]]) {
    const tick = el("span", "", text);
    tick.style.left = share(power) + "%";
    ticks.append(tick);
  }
  meter.append(verdict, bar, ticks);
  const actions = el("div", "ve-bar"), live = announcer();
  actions.append(buttons("Heads", reset));
  pick.append(kernel, size, alpha, meter);
  view.append(controls, actions, live, el("p", "ve-note",
    "Hover over the photograph to try a query pixel, click or tap to keep it, or use the arrow keys. " +
    "Drag a dot to move the centre of a head, or choose a head and use the sliders. Rows and columns " +
    "count from 0; the border is replicated. Everything is computed here, in double precision."));

  function card(name, label, width, height, kind) {
    const map = canvas(width, height, label), box = el("div", "ve-stage ve-pixels " + (kind || ""));
    const holder = el("div", "ve-card"), meta = el("span", "ve-soft");
    const marker = el("div", "ve-box ve-query");
    box.style.aspectRatio = width + " / " + height;
    box.append(map, marker);
    holder.append(box, el("div", "ve-name ve-head", name), caption(meta));
    maps.append(holder);
    return { map, box, meta, marker };
  }

  // ---- the heads' centres ----
  function move(row, col) {
    const center = state.centers[state.head];
    if (row !== null) center[0] = row;
    if (col !== null) center[1] = col;
    update();
  }
  tiles.box.addEventListener("click", (event) => {
    const [row, col] = locate(event, tiles.box, state.K[0], state.K[1]);
    state.head = row * state.K[1] + col;
    draw();
  });
  dots.addEventListener("pointerdown", (event) => {
    const dot = event.target.closest(".ve-dot");
    if (!dot) return;
    state.head = Number(dot.dataset.head);
    dots.setPointerCapture(event.pointerId);
    draw();
  });
  dots.addEventListener("pointermove", (event) => {
    if (!dots.hasPointerCapture(event.pointerId)) return;
    const at = ours.box.getBoundingClientRect();
    const along = (part) => clamp(Math.round(20 * (part * span - R - 0.5)) / 20, -R, R);
    move(along((event.clientY - at.top) / at.height), along((event.clientX - at.left) / at.width));
  });

  // ---- drawing ----
  function update() {
    compute();
    draw();
    live.say("Largest difference: " + power(state.shown.error) + ".");
  }
  function draw(announce) {
    const query = state.hover || state.pin, [row, col] = query;
    const { attention, convolution, difference, low, high, error } = state.shown;
    place(photo.query, state.pin, H, W);
    place(photo.ghost, state.hover, H, W);
    where.textContent = "Query: row " + row + ", column " + col;
    mode.textContent = state.hover ? "preview" : "pinned";

    const near = around(query);
    drawHeads(near.heads, query);
    let limit = 0;
    for (const w of [...near.ours, ...near.own]) limit = Math.max(limit, Math.abs(w));
    for (const [panel, weights] of [[ours, near.ours], [own, near.own]]) {
      paint(panel.map, (out) => eachNear(row, col, (at) => dye(out, at, two, limit ? 0.5 + weights[at] / limit / 2 : 0.5, 1)));
      place(panel.marker, [R, R], span, span);
    }
    ours.meta.textContent = "at the query " + signed(near.ours[R * span + R]);
    own.meta.textContent = "at the query " + signed(near.own[R * span + R]);
    drawDots();

    const range = high - low || 1, worst = Math.max(error, 1 / 255);
    for (const [panel, picture] of [[convolved, convolution], [attended, attention]]) {
      paint(panel.map, (out) => picture.forEach((y, at) => {
        out[4 * at] = out[4 * at + 1] = out[4 * at + 2] = Math.round(255 * clamp((y - low) / range, 0, 1));
        out[4 * at + 3] = 255;
      }));
      panel.meta.textContent = "at the query " + signed(picture[row * W + col]);
    }
    paint(rest.map, (out) => difference.forEach((d, at) => dye(out, at, two, 0.5 + d / worst / 2, 1)));
    rest.meta.textContent = "colours: ±" + worst.toFixed(worst < 0.0995 ? 3 : 2);
    for (const panel of [convolved, attended, rest]) place(panel.marker, query, H, W);

    const said = sentence(row, col);
    readout.textContent = said;
    drawControls(error);
    if (announce) live.say("Query row " + row + ", column " + col + ". " + said);
  }
  function drawHeads(heads, [row, col]) {
    const [K1, K2] = state.K, width = K2 * tile - 1;
    tiles.map.width = width;
    tiles.map.height = K1 * tile - 1;
    tiles.box.style.aspectRatio = width + " / " + (K1 * tile - 1);
    let most = 0;
    paint(tiles.map, (out) => heads.forEach((map, n) => {
      const top = Math.floor(n / K2) * tile, left = (n % K2) * tile;
      const peak = Math.max(...map);
      most = n === state.head ? peak : most;
      eachNear(row, col, (at, i, j) => { // the map over the photograph, which is dimmed
        const to = 4 * ((top + Math.floor(at / span)) * width + left + (at % span));
        const part = peak > 0 ? map[at] / peak : 0, opacity = 0.95 * part ** 0.6;
        for (let c = 0; c < 3; c++) {
          out[to + c] = 153 * x[i * W + j] * (1 - opacity) + ramp[3 * Math.round(255 * part) + c] * opacity;
        }
        out[to + 3] = 255;
      });
    }));
    const whole = [width, K1 * tile - 1];
    frame.style.left = (100 * (state.head % K2) * tile) / whole[0] + "%";
    frame.style.top = (100 * Math.floor(state.head / K2) * tile) / whole[1] + "%";
    frame.style.width = (100 * span) / whole[0] + "%";
    frame.style.height = (100 * span) / whole[1] + "%";
    tiles.marker.hidden = true;
    tiles.meta.textContent = "head " + (state.head + 1) + ", largest weight " + number(most);
  }
  function drawDots() {
    while (dots.children.length > state.centers.length) dots.lastChild.remove();
    state.centers.forEach(([i, j], n) => {
      const dot = dots.children[n] || dots.appendChild(el("div", "ve-dot"));
      dot.dataset.head = n;
      dot.classList.toggle("ve-held", n === state.head);
      dot.style.top = (100 * (i + R + 0.5)) / span + "%";
      dot.style.left = (100 * (j + R + 0.5)) / span + "%";
    });
  }
  function drawControls(error) {
    const [i, j] = state.centers[state.head], [K1, K2] = state.K;
    kernel.select.value = state.kernel;
    heads.select.value = state.head;
    size.input.disabled = Boolean(kernels[state.kernel].given);
    size.show(size.input.disabled ? Math.max(K1, K2) : state.size, K1 + " × " + K2);
    alpha.show(Math.log10(state.alpha), state.alpha.toPrecision(3));
    down.show(i, signed(i, 2));
    right.show(j, signed(j, 2));
    reset.disabled = state.centers.every(([a, b], n) => a === state.places[n][0] && b === state.places[n][1]);
    const at = error > 0 ? clamp(Math.log10(error), SMALLEST, LARGEST) : SMALLEST;
    mark.style.left = share(at) + "%";
    bar.setAttribute("aria-valuenow", at.toFixed(2));
    bar.setAttribute("aria-valuetext", power(error));
    bar.dataset.error = String(error);
    verdict.replaceChildren("Largest difference: ", el("strong", "", power(error)), " (" + meaning(error) + ")");
  }
  function paint(map, fill) {
    const context = map.getContext("2d"), pixels = context.createImageData(map.width, map.height);
    fill(pixels.data);
    context.putImageData(pixels, 0, 0);
  }
  function sentence(row, col) {
    const { attention, convolution, difference } = state.shown, at = row * W + col;
    return "Here the convolution gives " + signed(convolution[at]) + ", the attention " +
      signed(attention[at]) + "; the difference is " + power(Math.abs(difference[at])) + ".";
  }
  function share(exponent) { return (100 * (exponent - SMALLEST)) / (LARGEST - SMALLEST); }
  function power(error) {
    if (error === 0) return "0";
    if (error >= 0.001) return error.toPrecision(3);
    const [digits, exponent] = error.toExponential(1).split("e");
    const small = Array.from(exponent, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");
    return digits + " × 10" + small;
  }
  function meaning(error) {
    if (error < 1e-13) return "the rounding of float64";
    if (error < 1e-6) return "less than the rounding of float32 would leave";
    return error < 1 / 255 ? "less than one grey level" : "about " + count(error * 255) + " of 255 grey levels";
  }
  function count(levels) { return levels < 9.95 ? levels.toFixed(1) : String(Math.round(levels)); }

  chooseKernel();
  compute();
  draw();
});
