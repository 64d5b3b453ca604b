launch((view, data, uid) => {
  const { variables, sides } = data, [ours, theirs, fits] = data.colours;
  const WIDE = 1080, HIGH = 640, TICKS = [8, 16, 32, 64, 128, 256, 512, 1024];
  const BYTES = [[1e6, "1 MB"], [1e9, "1 GB"], [1e12, "1 TB"]], [LEAST, MOST] = [1e4, 1e13];
  const FORMS = ["package", "textbook"], NAMES = { package: "this package", textbook: "textbook form" };
  const state = { training: false, device: "cuda", memory: 16, mechanism: data.first, hover: null, numbers: {} };
  for (const [name, one] of Object.entries(variables)) state.numbers[name] = one.default;

  // ---- expressions: numbers, names, + - * / ( ), ceil, floor, min, max ----
  const FUNCTIONS = { ceil: Math.ceil, floor: Math.floor, min: Math.min, max: Math.max };
  function compile(text) { // a function of the variables
    const tokens = text.match(/\d+(?:\.\d+)?(?:e[+-]?\d+)?|[A-Za-z_]\w*|\S/g) || [];
    let at = 0;
    const take = (wanted) => {
      if (tokens[at] !== wanted) throw new Error("expected " + wanted + ", got " + tokens[at]);
      at++;
    };
    const binary = (sign, a, b) => ({
      "+": (x) => a(x) + b(x), "-": (x) => a(x) - b(x), "*": (x) => a(x) * b(x), "/": (x) => a(x) / b(x),
    })[sign];
    function chain(part, signs) {
      let value = part();
      while (signs.includes(tokens[at])) value = binary(tokens[at++], value, part());
      return value;
    }
    const sum = () => chain(product, ["+", "-"]);
    const product = () => chain(unary, ["*", "/"]);
    function unary() {
      if (tokens[at] !== "-") return atom();
      at++;
      const value = unary();
      return (x) => -value(x);
    }
    function atom() {
      const token = tokens[at++];
      if (token === "(") {
        const value = sum();
        take(")");
        return value;
      }
      if (/^\d/.test(token)) {
        const value = Number(token);
        return () => value;
      }
      if (Object.hasOwn(FUNCTIONS, token)) {
        const parts = [], call = FUNCTIONS[token];
        take("(");
        do parts.push(sum()); while (tokens[at] === "," && ++at);
        take(")");
        if (parts.length === 1) return (x) => call(parts[0](x));
        return (x) => call(...parts.map((part) => part(x)));
      }
      if (!Object.hasOwn(variables, token)) throw new Error("unknown name " + token);
      return (x) => x[token];
    }
    const value = sum();
    if (at !== tokens.length) throw new Error("unexpected " + tokens[at]);
    return value;
  }
  const known = new Map(); // text -> function
  function formula(row, form) {
    const pass = row[form][state.device] || row[form].cuda, text = state.training ? pass.training : pass.forward;
    if (!known.has(text)) known.set(text, compile(text));
    return known.get(text);
  }
  const cost = (row, form, numbers) => Math.ceil(formula(row, form)(numbers));
  const square = (side) => ({ ...state.numbers, H: side, W: side });
  const budget = () => state.memory * 1e9;
  function largest(row, form) { // side of the largest square map that fits
    let low = 0, high = data.cap + 1;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (cost(row, form, square(middle)) <= budget()) low = middle;
      else high = middle;
    }
    return low;
  }

  // ---- the elements ----
  const inputs = el("div", "ve-inputs"), fields = {};
  for (const [name, one] of Object.entries(variables)) {
    if (name === "s") continue;
    fields[name] = field(name, name + ": " + one.label, one.least, one.most, one.step, (value) => {
      state.numbers[name] = value;
      change();
    });
  }
  const own = data.devices.length;
  const width = chooser(uid + "-s", "s: " + variables.s.label, data.widths.map(String), (i) => {
    state.numbers.s = data.widths[i];
    change();
  });
  const device = chooser(uid + "-d", "Device", [...data.devices.map(([name]) => name), "Another one"], (i) => {
    if (i < own) state.memory = data.devices[i][1];
    change();
  });
  const memory = field("memory", "Its memory in GB", 0.001, 1e6, "any", (value) => { state.memory = value; change(); });
  const where = chooser(uid + "-c", "Computed on", ["a GPU", "a CPU"], (i) => { state.device = i ? "cpu" : "cuda"; change(); });
  inputs.append(width, device, memory, where);

  const bar = el("div", "ve-bar");
  const forward = button("Forward", () => { state.training = false; change(); });
  const training = button("Training", () => { state.training = true; change(); });
  const which = chooser(uid + "-m", "Drawn in colour", data.formulas.map((row) => row.title), (i) => { state.mechanism = i; change(); });
  bar.append(buttons("Pass", forward, training), which);

  const chart = el("div", "ve-chart"), box = el("div", "ve-stage ve-window ve-lines"), lines = canvas(WIDE, HIGH, "Bytes of one layer against the side of a square map");
  lines.setAttribute("aria-hidden", "true"); // the slider around it speaks
  box.append(lines);
  chart.append(box);
  box.tabIndex = 0;
  box.setAttribute("role", "slider");
  box.setAttribute("aria-label", "Side of a square map");
  box.setAttribute("aria-valuemin", sides[0]);
  box.setAttribute("aria-valuemax", sides[1]);
  for (const side of TICKS) chart.append(tick("ve-below", String(side), "left", across(side)));
  for (const [value, text] of BYTES) chart.append(tick("ve-beside", text, "top", down(value)));
  const key = el("div", "ve-caption ve-terms"), readout = el("p", "ve-readout");
  key.append(swatch(ours, "this package"), swatch(theirs, "textbook form", "dashed"), swatch(fits, "memory of the device", "dotted"));

  const table = el("table", "ve-table ve-fits"), head = el("tr");
  head.append(...["", "This package", "Textbook form"].map((name) => {
    const cell = el(name ? "th" : "td", "", name);
    if (name) cell.scope = "col";
    return cell;
  }));
  table.append(head);
  const rows = data.formulas.map((row, i) => {
    const line = el("tr"), name = el("th", "", row.title), cells = {};
    name.scope = "row";
    line.append(name);
    for (const form of FORMS) {
      cells[form] = el("td", "", row[form] ? "" : "the same");
      line.append(cells[form]);
    }
    line.addEventListener("click", () => { state.mechanism = i; change(); });
    table.append(line);
    return { line, cells };
  });
  const live = announcer();
  readout.id = uid;
  box.setAttribute("aria-describedby", uid);
  view.append(inputs, bar, el("div", "ve-name", "One layer, against the side of a square map"), chart, key, readout, table, live, el("p", "ve-note",
    "What one layer allocates beyond its input and its parameters; a network has many layers, and in training each " +
    "keeps a part of this. ✓ fits into the device, ✗ does not; below stands the largest square map that fits. In " +
    "the chart, hover over a side to read it, click to take it, or use the arrow keys; grey lines are the other " +
    "mechanisms in this package. 1 GB is 10⁹ bytes."));

  function field(name, text, least, most, step, action) {
    const line = el("div", "ve-control"), label = el("label", "", text), input = document.createElement("input");
    Object.assign(input, { type: "number", id: uid + "-" + name, min: least, max: most, step, inputMode: "decimal" });
    label.htmlFor = input.id;
    input.addEventListener("input", () => {
      const value = Number(input.value), whole = step === "any" || (value - least) % step === 0;
      const right = input.value !== "" && whole && value >= least && value <= most;
      input.setAttribute("aria-invalid", String(!right));
      if (right) action(value);
      else live.say(text + ": from " + least + " to " + most + (step > 1 ? " in steps of " + step : "") + ".");
    });
    input.addEventListener("change", () => { // leave no number that is not used
      input.setAttribute("aria-invalid", "false");
      draw();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key.startsWith("Arrow")) event.stopPropagation(); // a page may turn over
    });
    line.append(label, input);
    line.input = input;
    inputs.append(line);
    return line;
  }
  function tick(kind, text, edge, share) {
    const made = el("span", "ve-tick " + kind, text);
    made.style[edge] = 100 * share + "%";
    return made;
  }
  function swatch(colour, text, dash) {
    const made = el("span", "ve-swatch"), line = el("span");
    line.style.borderTop = "3px " + (dash || "solid") + " " + colour;
    made.append(line, text);
    return made;
  }

  // ---- the chart ----
  function across(side) { return Math.log(side / sides[0]) / Math.log(sides[1] / sides[0]); }
  function down(bytes_) { return 1 - Math.log(bytes_ / LEAST) / Math.log(MOST / LEAST); }
  function sideAt(event) {
    const at = box.getBoundingClientRect(), share = clamp((event.clientX - at.left) / at.width, 0, 1);
    const side = Math.round(sides[0] * (sides[1] / sides[0]) ** share);
    return TICKS.find((one) => Math.abs(side / one - 1) < 0.015) || side;
  }
  const current = () => clamp(Math.round(Math.sqrt(state.numbers.H * state.numbers.W)), ...sides);
  function take(side) {
    state.numbers.H = state.numbers.W = side;
    change();
  }
  box.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") {
      state.hover = sideAt(event);
      drawChart();
    } else if (event.buttons) take(sideAt(event));
  });
  box.addEventListener("pointerleave", () => { state.hover = null; drawChart(); });
  box.addEventListener("click", (event) => take(sideAt(event)));
  box.addEventListener("keydown", (event) => {
    const whole = { Home: sides[0], End: sides[1] }[event.key], step = whole === undefined && arrow(event);
    if (whole === undefined && !step) return;
    event.preventDefault();
    state.hover = null;
    const side = current(), by = step && Math.max(1, Math.round(side / 16)) * (step[1] || -step[0]);
    take(whole === undefined ? clamp(side + by, ...sides) : whole);
  });
  function drawChart() {
    const on = lines.getContext("2d"), row = data.formulas[state.mechanism];
    on.clearRect(0, 0, WIDE, HIGH);
    const line = (points, colour, width, dash) => {
      on.setLineDash(dash || []);
      on.lineWidth = width;
      on.strokeStyle = colour;
      on.beginPath();
      for (const [x, y] of points) on.lineTo(x * WIDE, y * HIGH);
      on.stroke();
    };
    const curve = (one, form) => Array.from({ length: 65 }, (_, i) => {
      const side = Math.round(sides[0] * (sides[1] / sides[0]) ** (i / 64));
      return [across(side), down(cost(one, form, square(side)))];
    });
    const top = clamp(down(budget()), 0, 1);
    on.fillStyle = "rgba(213,94,0,.1)"; // what does not fit
    on.fillRect(0, 0, WIDE, top * HIGH);
    for (const side of TICKS) line([[across(side), 0], [across(side), 1]], "rgba(128,128,128,.25)", 2);
    for (const [value] of BYTES) line([[0, down(value)], [1, down(value)]], "rgba(128,128,128,.25)", 2);
    for (const one of data.formulas) {
      if (one !== row) line(curve(one, "package"), "rgba(128,128,128,.6)", 2);
    }
    line([[0, top], [1, top]], fits, 5, [4, 8]);
    const side = state.hover === null ? current() : state.hover;
    line([[across(side), 0], [across(side), 1]], state.hover === null ? "#808080" : "rgba(128,128,128,.7)", 4, state.hover === null ? [] : [10, 8]);
    for (const [form, colour, dash] of [["textbook", theirs, [18, 10]], ["package", ours, []]]) {
      if (!row[form]) continue;
      line(curve(row, form), colour, 6, dash);
      on.fillStyle = colour;
      on.beginPath();
      on.arc(across(side) * WIDE, down(cost(row, form, square(side))) * HIGH, 11, 0, 2 * Math.PI);
      on.fill();
    }
    box.setAttribute("aria-valuenow", current());
    box.setAttribute("aria-valuetext", current() + " pixels");
    readout.textContent = sentence(row);
  }

  // ---- drawing ----
  function change() {
    draw();
    live.say(sentence(data.formulas[state.mechanism]));
  }
  function draw() {
    for (const [name, one] of Object.entries(fields)) show(one.input, state.numbers[name]);
    show(memory.input, state.memory);
    width.select.value = data.widths.indexOf(state.numbers.s);
    const preset = data.devices.findIndex(([, size]) => size === state.memory);
    device.select.value = preset < 0 ? own : preset;
    where.select.value = state.device === "cpu" ? 1 : 0;
    which.select.value = state.mechanism;
    forward.setAttribute("aria-pressed", String(!state.training));
    training.setAttribute("aria-pressed", String(state.training));
    rows.forEach(({ line, cells }, i) => {
      line.classList.toggle("ve-on", i === state.mechanism);
      for (const form of FORMS) {
        const row = data.formulas[i];
        if (!row[form]) continue;
        const needed = cost(row, form, state.numbers), side = largest(row, form), fit = needed <= budget();
        cells[form].dataset.bytes = needed;
        cells[form].dataset.largest = side;
        cells[form].dataset.fits = fit;
        cells[form].replaceChildren((fit ? "✓ " : "✗ ") + size(needed), el("span", "ve-soft", upTo(side)));
      }
    });
    drawChart();
  }
  function show(input, value) { // not while the reader writes in it
    if (document.activeElement !== input || input.getAttribute("aria-invalid") !== "true") input.value = value;
  }
  function sentence(row) {
    const given = state.hover === null, numbers = given ? state.numbers : square(state.hover), { C, N, H, W } = numbers;
    const passes = FORMS.filter((form) => row[form]).map((form) => {
      const pass = row[form][state.device] || row[form].cuda, needed = cost(row, form, numbers);
      return (needed <= budget() ? "✓ " : "✗ ") + size(needed) + " in " +
        (form === "package" ? "this package" : "the textbook form") + " (" + pass.holds + ")";
    });
    const letters = FORMS.filter((form) => row[form]).map((form) => row[form].cuda.forward + row[form].cuda.training).join(" ");
    const used = Object.keys(variables).filter((name) => new RegExp("\\b" + name + "\\b").test(letters));
    const whole = C % N ? " " + N + " heads do not divide " + C + " channels: a layer refuses that." : "";
    return row.title + (state.training ? ", training" : ", forward") + ", map " + H + " × " + W + ": " + passes.join("; ") +
      ". It depends on " + used.join(", ") + "." + whole;
  }
  function upTo(side) {
    return side === 0 ? "no map fits" : side >= data.cap ? "every map fits" : "up to " + side.toLocaleString("en-US") + "²";
  }
  function size(n) {
    const units = [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]].find(([, unit]) => n >= unit) || ["bytes", 1];
    const value = n / units[1];
    return (value < 999.5 ? String(Number(value.toPrecision(3))) : Math.round(value).toLocaleString("en-US")) + " " + units[0];
  }
  draw();
});
