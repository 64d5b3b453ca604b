launch((view, data, uid) => {
  const { height: H, width: W, channels: C } = data, LONGEST = Math.max(H, W);
  const ramp = bytes(data.colours), DOT = Math.max(6, Math.ceil(560 / LONGEST)); // canvas pixels of one pixel
  const given = data.weights && {
    levels: bytes(data.weights.levels), peaks: floats(data.weights.peaks), U: data.block + 2 * data.halo,
  };
  const state = {
    pin: data.query, hover: null, key: null, head: 0, plain: false, reach: true,
    b: data.block, h: data.halo, s: data.stride,
  };

  // ---- the numbers ----
  const side = () => state.b + 2 * state.h;
  const ceil = Math.ceil;
  function costs() {
    const { b, s } = state, keys = side() ** 2, blocks = ceil(H / b) * ceil(W / b);
    return {
      keys, gathered: (blocks * keys) / (H * W), overlap: keys / b ** 2,
      logits: blocks * (b / s) ** 2 * keys, bytes: 8 * C * blocks * keys,
    };
  }
  function windowCosts() {
    const K = state.reach ? 2 * state.h + 1 : side(), keys = K ** 2, queries = ceil(H / state.s) * ceil(W / state.s);
    return { K, keys, gathered: (queries * keys) / (H * W), logits: queries * keys, bytes: 8 * C * queries * keys };
  }
  function along(length) { // how many windows hold each place of an axis
    const { b, h } = state, counts = new Int32Array(length);
    for (let start = 0; start < length; start += b) {
      for (let a = Math.max(0, start - h); a < Math.min(length, start + b + h); a++) counts[a]++;
    }
    return counts;
  }
  const weight = (at, cell) => (given.levels[at * given.U ** 2 + cell] / 255) * given.peaks[at];

  // ---- the elements ----
  view.style.setProperty("--ve-dim", data.dim);
  const body = el("div", "ve-body"), pick = el("div", "ve-pick ve-wide"), maps = el("div", "ve-maps ve-side " + (given ? "ve-pairs" : "ve-stack"));
  view.append(body);
  body.append(pick, maps);
  const photo = picker(data, state, uid, "pixel", (announce) => { state.key = null; draw(announce); });
  const grid = canvas(W * DOT, H * DOT, "Blocks, the block of the pixel, and its window"), frame = el("div", "ve-box ve-frame");
  photo.query.before(grid, frame);
  const where = el("span", "ve-name"), mode = el("span", "ve-soft"), readout = el("p", "ve-readout");
  readout.id = uid;
  const block = slider(uid + "-b", "Block b", { min: 1, max: LONGEST, step: 1 }, (value) => {
    state.b = value;
    state.s = Math.max(...strides().filter((s) => s <= state.s));
    change();
  });
  const halo = slider(uid + "-h", "Halo h", { min: 0, max: data.halos, step: 1 }, (value) => { state.h = value; change(); });
  const stride = chooser(uid + "-s", "Query stride", [], (i) => { state.s = strides()[i]; change(); });
  const controls = el("div", "ve-controls ve-three");
  controls.append(block, halo, stride);
  pick.append(photo.box, caption(where, mode), controls, readout);

  const window_ = card("The window", "ve-crop", "The block inside its window");
  const weights = given && card("Weights of the pixel", "ve-map ve-crop", "Weights of the pixel in its window");
  const often = card("How often a pixel is gathered", "ve-window", "How many windows hold each pixel");
  often.box.style.aspectRatio = String((data.cell * W) / H);
  if (given) {
    weights.away = el("div");
    weights.away.back = [
      el("p", "ve-note", "These weights belong to block " + data.block + ", halo " + data.halo + "."),
      buttons("Weights", button("Go back to them", () => {
        Object.assign(state, { b: data.block, h: data.halo, s: 1 });
        change();
      })),
    ];
    weights.head = chooser(uid + "-n", "Head", Array.from({ length: data.heads }, (_, n) => "Head " + (n + 1)), (n) => {
      state.head = n;
      draw(true);
    });
    weights.holder.append(weights.away);
    if (data.heads > 1) controls.append(weights.head);
    often.holder.classList.add("ve-across");
    for (const kind of ["pointermove", "pointerdown"]) {
      weights.box.addEventListener(kind, (event) => { state.key = locate(event, weights.box, side(), side()); draw(); });
    }
    weights.box.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") state.key = null;
      draw();
    });
  }

  const table = el("table", "ve-table"), head = el("tr"), cells = {};
  const compared = el("th", "", "Blocks"), other = el("th");
  compared.scope = other.scope = "col";
  head.append(el("td"), compared, other);
  table.append(head);
  for (const [key, name, formula] of [
    ["keys", "Keys per query", "(b + 2h)²"],
    ["gathered", "Keys gathered per pixel", "(b + 2h)² / b², with whole blocks"],
    ["logits", "Logits per head", "queries × keys per query"],
    ["bytes", "Gathered keys and values", C + " channels, 4 bytes each"],
  ]) {
    const line = el("tr"), label = el("th", "", name);
    label.scope = "row";
    label.append(el("span", "ve-soft", formula));
    cells[key] = [el("td"), el("td")];
    line.append(label, ...cells[key]);
    table.append(line);
  }
  const verdict = el("p", "ve-verdict"), live = announcer(), bar = el("div", "ve-bar");
  const reach = button("that reaches as far", () => { state.reach = true; draw(true); });
  const many = button("with as many keys", () => { state.reach = false; draw(true); });
  bar.append(el("span", "", "Compare with a window per pixel"), buttons("Compare with a window per pixel", reach, many));
  view.append(bar, table, verdict, live, el("p", "ve-note",
    "Click or tap on the photograph to choose a pixel, hover to try one, or use the arrow keys. Lines are the " +
    "borders of blocks; the orange frame is the block of the pixel and the dashed one its window, which all " +
    "queries of the block share. Blue: the window that this pixel would have of its own. Hatched: outside the image. " +
    "Blocks that reach beyond the map are counted whole. Rows and columns count from 0."));

  function card(name, kind, label) {
    const map = canvas(1, 1, label), made = { map, ...stage(kind === "ve-window" ? { ...data, image: null, thumbnail: true } : data, kind, map) };
    made.holder = el("div", "ve-card");
    made.left = el("span", "ve-soft");
    made.right = el("span", "ve-soft");
    const img = made.box.querySelector("img");
    if (img) {
      img.alt = "The window on the photograph";
      made.box.style.aspectRatio = String(data.cell);
    }
    made.holder.append(made.box, el("div", "ve-name ve-head", name), caption(made.left, made.right));
    maps.append(made.holder);
    return made;
  }
  function strides() { return data.strides.filter((s) => state.b % s === 0); }
  function change() {
    state.key = null;
    draw();
    live.say(sums());
  }

  // ---- drawing ----
  function draw(announce) {
    const { b, h, s } = state, U = side(), [i, j] = state.hover || state.pin;
    const block_ = [i - (i % b), j - (j % b)], corner = block_.map((start) => start - h);
    place(photo.query, state.pin, H, W);
    place(photo.ghost, state.hover, H, W);
    place(photo.key, null);
    where.textContent = "Pixel: row " + i + ", column " + j;
    mode.textContent = state.hover ? "preview" : "pinned";
    put(frame, corner, U, H, W);
    drawGrid(block_, corner, [i, j]);

    crop(window_, corner, [i, j]);
    drawWindow(block_, [i - corner[0], j - corner[1]]);
    window_.left.textContent = U + " × " + U + " = " + count(U * U) + " keys";
    const outside = U * U - inside(corner[0], H) * inside(corner[1], W);
    window_.right.textContent = outside ? count(outside) + " outside" : "";
    if (given) drawWeights(corner, [i, j]);
    drawOften([i, j]);

    block.show(b, b + " × " + b);
    halo.show(h, String(h));
    stride.fill(strides().map(String));
    stride.select.value = strides().indexOf(s);
    reach.setAttribute("aria-pressed", String(state.reach));
    many.setAttribute("aria-pressed", String(!state.reach));
    drawTable();
    const said = sentence([i, j], block_, corner, outside);
    readout.textContent = said;
    if (announce === true) live.say(said);
  }
  function inside(start, length) { return Math.max(0, Math.min(length, start + side()) - Math.max(0, start)); }
  function put(box, [row, col], size, rows, cols) {
    box.style.top = (100 * row) / rows + "%";
    box.style.left = (100 * col) / cols + "%";
    box.style.height = (100 * size) / rows + "%";
    box.style.width = (100 * size) / cols + "%";
  }
  function drawOwn(on, [i, j], dot) { // the window that the pixel would have of its own
    const { K } = windowCosts(), back = Math.floor((K - 1) / 2);
    for (const [width, colour] of [[5, "#000"], [3, "#56b4e9"]]) {
      on.lineWidth = width;
      on.strokeStyle = colour;
      on.strokeRect((j - back) * dot, (i - back) * dot, K * dot, K * dot);
    }
  }
  function drawGrid([top, left], corner, query) {
    const on = grid.getContext("2d"), U = side(), { b } = state;
    on.clearRect(0, 0, grid.width, grid.height);
    on.fillStyle = "rgba(0,0,0,.5)";
    on.fillRect(0, 0, grid.width, grid.height);
    on.clearRect(corner[1] * DOT, corner[0] * DOT, U * DOT, U * DOT);
    on.fillStyle = b < 3 ? "rgba(255,255,255,.35)" : "rgba(255,255,255,.6)";
    for (let at = b; at < W; at += b) on.fillRect(at * DOT - 1, 0, 2, grid.height);
    for (let at = b; at < H; at += b) on.fillRect(0, at * DOT - 1, grid.width, 2);
    on.lineWidth = 4;
    on.strokeStyle = "#e69f00";
    on.strokeRect(left * DOT, top * DOT, Math.min(b, W - left) * DOT, Math.min(b, H - top) * DOT);
    drawOwn(on, query, DOT);
  }
  function crop(panel, corner, [i, j]) {
    const U = side();
    panel.box.style.setProperty("--ve-wide", (100 * W) / U + "%");
    panel.box.style.setProperty("--ve-high", (100 * H) / U + "%");
    panel.box.style.setProperty("--ve-top", (-100 * corner[0]) / U + "%");
    panel.box.style.setProperty("--ve-left", (-100 * corner[1]) / U + "%");
    place(panel.query, [i - corner[0], j - corner[1]], U, U);
  }
  function drawWindow([top, left], query) { // the block's frame; with a stride, its queries
    const { b, h, s } = state, U = side(), dot = Math.max(4, Math.floor(480 / U)), map = window_.map;
    map.width = map.height = U * dot;
    const on = map.getContext("2d");
    on.fillStyle = "rgba(0,0,0,.35)";
    on.fillRect(0, 0, U * dot, U * dot);
    on.clearRect(h * dot, h * dot, b * dot, b * dot);
    on.lineWidth = 5;
    on.strokeStyle = "#e69f00";
    on.strokeRect(h * dot, h * dot, b * dot, b * dot);
    drawOwn(on, query, dot);
    if (s === 1) return;
    for (let p = 0; p < b && top + p < H; p += s) {
      for (let q = 0; q < b && left + q < W; q += s) {
        disc(on, (h + q + 0.5) * dot, (h + p + 0.5) * dot, 0.26 * dot, "#000");
        disc(on, (h + q + 0.5) * dot, (h + p + 0.5) * dot, 0.18 * dot, "#fff");
      }
    }
  }
  function disc(on, x, y, radius, colour) {
    on.fillStyle = colour;
    on.beginPath();
    on.arc(x, y, radius, 0, 2 * Math.PI);
    on.fill();
  }
  function drawWeights(corner, [i, j]) {
    const shown = state.b === data.block && state.h === data.halo && state.s === 1, U = given.U;
    weights.box.hidden = weights.head.hidden = !shown;
    weights.left.parentElement.hidden = !shown;
    weights.away.replaceChildren(...(shown ? [] : weights.away.back));
    if (!shown) return;
    const at = (state.head * H + i) * W + j, most = given.peaks[at];
    crop(weights, corner, [i, j]);
    place(weights.key, state.key, U, U);
    fill(weights.map, U, U, (out, cell) => {
      const share = most > 0 ? weight(at, cell) / most : 0;
      dye(out, cell, ramp, share, data.alpha * Math.pow(share, data.gamma));
    });
    weights.left.textContent = state.key
      ? "here " + number(weight(at, state.key[0] * U + state.key[1])) : "max " + number(most);
  }
  function drawOften([i, j]) {
    const rows = along(H), cols = along(W), most = Math.max(...rows) * Math.max(...cols);
    fill(often.map, W, H, (out, at) => dye(out, at, ramp, (rows[Math.floor(at / W)] * cols[at % W]) / most, 1));
    place(often.query, [i, j], H, W);
    const least = Math.min(...rows) * Math.min(...cols);
    often.left.textContent = least === most ? times(most) : least + " to " + times(most);
    often.right.textContent = "here " + rows[i] * cols[j];
  }
  function drawTable() {
    const ours = costs(), theirs = windowCosts();
    other.textContent = theirs.K + " × " + theirs.K + " per pixel";
    for (const [key, [a, b]] of Object.entries(cells)) {
      const say = key === "bytes" ? size : key === "gathered" ? decimal : count;
      a.textContent = say(ours[key]);
      b.textContent = say(theirs[key]);
    }
    verdict.textContent = sums();
  }
  function sums() {
    const { b, h } = state, ours = costs(), theirs = windowCosts(), ratio = theirs.bytes / ours.bytes;
    const overlap = "Overlap (b + 2h)² / b² = " + decimal(ours.overlap) + ".";
    const spent = ratio >= 1 ? decimal(ratio) + " times fewer" : decimal(1 / ratio) + " times more";
    const bytes_ = Math.abs(ratio - 1) < 0.005 ? " As many bytes as the windows per pixel."
      : " Blocks gather " + spent + " bytes than the windows per pixel.";
    const end = b === 1 ? " A block of one pixel is local attention with a window of " + (2 * h + 1) + " × " + (2 * h + 1) + "."
      : b >= LONGEST && h === 0 ? " One block and no halo: every pixel sees the whole map." : "";
    return overlap + bytes_ + end;
  }
  function sentence([i, j], [top, left], corner, outside) {
    const { b, s } = state, U = side(), bottom = Math.min(top + b, H) - 1, right = Math.min(left + b, W) - 1;
    const queries = ceil((bottom - top + 1) / s) * ceil((right - left + 1) / s);
    const edge = outside ? ", " + count(outside) + " of them outside the image" : "";
    const none = i % s || j % s ? " With stride " + s + " this pixel is no query." : "";
    return "Block (" + top / b + ", " + left / b + "): rows " + top + " to " + bottom + ", columns " + left + " to " +
      right + ". Its " + (queries === 1 ? "query sees " : count(queries) + " queries share ") + count(U * U) + " keys" + edge +
      ": rows " + signed(corner[0], 0) + " to " + (corner[0] + U - 1) + ", columns " + signed(corner[1], 0) +
      " to " + (corner[1] + U - 1) + "." + none;
  }
  function fill(map, width, height, dot) {
    map.width = width;
    map.height = height;
    const context = map.getContext("2d"), pixels = context.createImageData(width, height);
    for (let at = 0; at < width * height; at++) dot(pixels.data, at);
    context.putImageData(pixels, 0, 0);
  }
  function times(n) { return n === 1 ? "once" : n + " times"; }
  function count(n) { return n.toLocaleString("en-US"); }
  function decimal(n) { return n < 99.95 ? String(Number(n.toPrecision(3))) : count(Math.round(n)); }
  function size(n) {
    const units = [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]].find(([, unit]) => n >= unit) || ["bytes", 1];
    return decimal(n / units[1]) + " " + units[0];
  }
  draw();
});
