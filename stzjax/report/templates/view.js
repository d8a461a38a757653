"use strict";
(() => {
  const source = document.getElementById("view-data");
  if (!source) return;
  const scene = JSON.parse(source.textContent);
  const element = (name) => document.getElementById(name);
  const control = (name) => element(`view-${name}`);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
  const shorts = (text) => new Uint16Array(bytes(text).buffer);
  const wrap = (x) => x - Math.floor(x);
  const GREY = "#9aa5b1", INK = "#1f2933", ORANGE = "#d55e00";
  const RADIUS = 1.25; // Of the atoms in the cross-section, about half of a bond [Å].
  const groups = [
    { key: "other", name: "all other atoms", colour: GREY, size: 2.2, opacity: 0.22 },
    { key: "false", name: "predicted only (false positive)", colour: scene.colours.false, size: 4, opacity: 0.6 },
    { key: "missed", name: "moved, not predicted (false negative)", colour: scene.colours.missed, size: 6.5, opacity: 1 },
    { key: "hit", name: "moved and predicted (true positive)", colour: scene.colours.hit, size: 6.5, opacity: 1 },
  ];

  // A run with its arrays, decoded when it is chosen.
  let open = null;
  function current() {
    const number = Number(control("run").value);
    if (open?.number === number) return open;
    const run = scene.runs[number];
    const specimen = scene.specimens[run.specimen];
    open = { number, direction: run.direction, specimen, label: bytes(run.label),
      confidence: floats(run.confidence), species: bytes(specimen.species),
      fractional: shorts(specimen.fractional), cell: specimen.cell,
      // Decimal logarithms; zero has a code of its own, one step below the smallest.
      d2min: run.d2min && Float32Array.from(shorts(run.d2min),
        (code) => scene.d2min_low + scene.d2min_step * (code - 1)) };
    const by = open.d2min ?? open.confidence;
    open.core = by.reduce((best, value, atom) => (value > by[best] ? atom : best), 0);
    return open;
  }
  const share = (run, atom, axis) => run.fractional[3 * atom + axis] / 65536;
  const cartesian = (cell, f) => cell.map((row) => row[0] * f[0] + row[1] * f[1] + row[2] * f[2]);

  // Where each atom is drawn; those of the slab at their image nearest to it.
  function place(run) {
    const high = run.cell[2][2];
    const half = Number(control("thickness").value) / 2 / high;
    const shift = [0, 1, 2].map((k) => (control("centred").checked ? 0.5 - share(run, run.core, k) : 0));
    const middle = wrap(Number(control("height").value) / high + shift[2]);
    const [positions, slab] = [[], []];
    for (let atom = 0; atom < run.label.length; atom++) {
      const f = [0, 1, 2].map((k) => wrap(share(run, atom, k) + shift[k]));
      const away = f[2] - middle - Math.round(f[2] - middle);
      if (Math.abs(away) <= half) { slab.push([away, atom]); f[2] = middle + away; }
      positions.push(cartesian(run.cell, f));
    }
    slab.sort((a, b) => a[0] - b[0]);
    const outline = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]].map((f) => cartesian(run.cell, [...f, middle]));
    return { positions, slab: slab.map(([, atom]) => atom), outline };
  }

  function line(points, colour, width) {
    const axis = (k) => points.map((point) => point && point[k]);
    return { type: "scatter3d", mode: "lines", x: axis(0), y: axis(1), z: axis(2),
      line: { color: colour, width }, hoverinfo: "skip", showlegend: false };
  }
  function box(cell) {
    const bits = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => [n & 1, (n >> 1) & 1, n >> 2]);
    return bits.flatMap((from) => [0, 1, 2].filter((k) => !from[k]).flatMap((k) =>
      [cartesian(cell, from), cartesian(cell, from.map((v, j) => (j === k ? 1 : v))), null]));
  }

  // The same comparison as on the host, in the single precision of the stored confidences.
  function judge(run) {
    const limit = Math.fround(Number(control("threshold").value));
    return Array.from(run.label, (moved, atom) => {
      const predicted = run.confidence[atom] >= limit;
      return moved ? (predicted ? "hit" : "missed") : predicted ? "false" : "other";
    });
  }
  function sorted(kinds) {
    const found = { hit: [], false: [], missed: [], other: [] };
    kinds.forEach((kind, atom) => found[kind].push(atom));
    return found;
  }

  const power = (n) => (Math.abs(n) < 4 ? String(10 ** n) : `10<sup>${n}</sup>`);
  // What the atoms are coloured by: values and colour axis, or nothing for the outcome.
  function colouring(run) {
    const bar = { orientation: "h", y: 0, yanchor: "top", thickness: 12, len: 0.7, outlinewidth: 0, title: { side: "top" } };
    const scale = scene.colour_scale;
    const axis = { colorscale: scale.map((colour, n) => [n / (scale.length - 1), colour]), colorbar: bar };
    if (control("colour").value === "confidence") {
      bar.title.text = "confidence";
      return { values: run.confidence, axis: { ...axis, cmin: 0, cmax: 1 } };
    }
    if (control("colour").value !== "d2min" || !run.d2min) return null;
    const low = Math.log10(scene.moved_above) - 2;
    const high = Math.max(low + 3, run.d2min[run.core]);
    const ticks = [];
    for (let n = Math.ceil(low); n <= high; n++) ticks.push(n);
    bar.title.text = "D²min (Å²)";
    bar.tickvals = ticks;
    bar.ticktext = ticks.map((n, place) => (place ? "" : "≤ ") + power(n));
    return { values: run.d2min, axis: { ...axis, cmin: low, cmax: high } };
  }

  function words(run, atom) {
    const d2min = run.d2min ? `<br>D²min ${(10 ** run.d2min[atom]).toPrecision(3)} Å²` : "";
    return `atom ${atom}, ${run.specimen.elements[run.species[atom]]}` +
      `<br>confidence ${run.confidence[atom].toFixed(4)}${d2min}`;
  }
  function cloud(run, placed, members, style, name) {
    const axis = (k) => members.map((atom) => placed.positions[atom][k]);
    return { type: "scatter3d", mode: "markers", name, x: axis(0), y: axis(1), z: axis(2),
      marker: style, text: members.map((atom) => words(run, atom)),
      hovertemplate: `%{text}<extra>${name}</extra>`, showlegend: false };
  }
  const marker = (colour, size, opacity) => ({ ...colour, size, opacity,
    line: { width: opacity === 1 ? 0.5 : 0, color: "#ffffff" } });

  // Traces of the 3D view: by outcome one a group, else the atoms that stand out and the others.
  function clouds(run, placed, found, paint, chosen) {
    const inside = new Set(placed.slab);
    const only = control("only").checked;
    const kept = (members) => (only ? members.filter((atom) => inside.has(atom)) : members);
    const others = control("others").checked;
    if (!paint)
      return groups.filter((g) => (g.key !== "other" || others) && (g.key !== "false" || control("false").checked))
        .map((g) => cloud(run, placed, kept(found[g.key]), marker({ color: g.colour }, g.size, only && g.key === "other" ? 0.6 : g.opacity), g.name));
    const atoms = Array.from(run.label.keys());
    const part = (members, size, opacity, name) => cloud(run, placed, members,
      marker({ color: members.map((atom) => paint.values[atom]), coloraxis: "coloraxis" }, size, opacity), name);
    const traces = [part(kept(atoms.filter((atom) => chosen[atom])), 6.5, 1, "stands out")];
    if (others) traces.unshift(part(kept(atoms.filter((atom) => !chosen[atom])), only ? 4 : 2.6, only ? 0.8 : 0.45, "other atom"));
    return traces;
  }

  function draw3d(run, placed, found, paint, chosen) {
    const hidden = { visible: false };
    const corners = box(run.cell);
    const span = [0, 1, 2].map((k) => {
      const values = corners.filter(Boolean).map((corner) => corner[k]);
      return Math.max(...values) - Math.min(...values);
    });
    const size = 1.3 / Math.cbrt(span[0] * span[1] * span[2]);
    const layout = { margin: { l: 0, r: 0, t: 0, b: paint ? 64 : 0 }, uirevision: "keep", hovermode: "closest",
      coloraxis: paint?.axis,
      scene: { xaxis: hidden, yaxis: hidden, zaxis: hidden, aspectmode: "manual",
        aspectratio: { x: size * span[0], y: size * span[1], z: size * span[2] },
        camera: { projection: { type: "orthographic" }, eye: { x: 1.25, y: -1.55, z: 0.75 } } } };
    Plotly.react("view", [line(corners, "#7b8794", 2), line(placed.outline, ORANGE, 4),
      ...clouds(run, placed, found, paint, chosen)], layout, plotting);
  }

  // The atoms of the slab from above, in their size; the upper ones cover the lower.
  function drawSlice(run, placed, kinds, paint, chosen) {
    const range = (k) => {
      const values = [...placed.outline, ...placed.slab.map((atom) => placed.positions[atom])].map((p) => p[k]);
      return [Math.min(...values) - RADIUS, Math.max(...values) + RADIUS];
    };
    const [x, y] = [range(0), range(1)];
    const margin = { l: 44, r: 8, t: 8, b: 40 };
    const width = Math.min(element("slice").clientWidth, 480);
    const scale = (width - margin.l - margin.r) / (x[1] - x[0]);
    const height = Math.min(1.5 * width, scale * (y[1] - y[0]) + margin.t + margin.b);
    const fit = Math.min(scale, (height - margin.t - margin.b) / (y[1] - y[0]));
    const colours = Object.fromEntries(groups.map((g) => [g.key, g.colour]));
    const atoms = { type: "scatter", mode: "markers", showlegend: false,
      x: placed.slab.map((atom) => placed.positions[atom][0]),
      y: placed.slab.map((atom) => placed.positions[atom][1]),
      text: placed.slab.map((atom) => words(run, atom)), hovertemplate: "%{text}<extra></extra>",
      marker: { size: 2 * RADIUS * fit, opacity: 1,
        color: placed.slab.map((atom) => (paint ? paint.values[atom] : colours[kinds[atom]])),
        coloraxis: paint ? "coloraxis" : undefined,
        line: { color: placed.slab.map((atom) => (paint && chosen[atom] ? "#0072b2" : "#ffffff")),
          width: placed.slab.map((atom) => (paint && chosen[atom] ? 2.5 : 0.7)) } } };
    const outline = { type: "scatter", mode: "lines", x: placed.outline.map((p) => p[0]),
      y: placed.outline.map((p) => p[1]), line: { color: ORANGE, width: 1.5 }, hoverinfo: "skip",
      showlegend: false };
    const axis = (name, ends) => ({ title: { text: `${name} (Å)`, standoff: 6 }, range: ends, fixedrange: true,
      showgrid: false, zeroline: false, ticks: "outside", linecolor: "#7b8794" });
    Plotly.react("slice", [outline, atoms], { width, height, margin, hovermode: "closest",
      font: { family: "system-ui, sans-serif", size: 12, color: INK },
      coloraxis: paint && { ...paint.axis, showscale: false }, xaxis: axis("x", x),
      yaxis: { ...axis("y", y), scaleanchor: "x" } }, { ...plotting, responsive: false, displayModeBar: false });
  }

  const percent = (part, whole) => (whole ? ((100 * part) / whole).toFixed(1) + " %" : "undefined");
  const long = (vector) => Math.hypot(...vector).toFixed(1);

  function tell(run, placed, found, paint) {
    const counts = element("view-counts");
    counts.textContent = "";
    for (const group of groups.slice(1).reverse()) {
      const item = document.createElement("span");
      item.className = "count";
      if (!paint) {
        const dot = document.createElement("span");
        dot.className = "dot";
        dot.style.background = group.colour;
        item.append(dot);
      }
      item.append(`${group.name}: ${found[group.key].length}`);
      counts.append(item);
    }
    const hits = found.hit.length;
    element("view-text").textContent =
      `Recall ${percent(hits, hits + found.missed.length)}, precision ` +
      `${percent(hits, hits + found.false.length)} in this cell. Load ${run.direction}: ` +
      `flow along ${run.direction[1]}, gradient along ${run.direction[2]}. ` +
      `Cell vectors of ${[0, 1, 2].map((k) => long(run.cell.map((row) => row[k]))).join(", ")} Å.`;
    const outlined = !paint ? "" : paint.values === run.d2min
      ? " Outlined: moved first." : " Outlined: predicted.";
    element("slice-text").textContent = `z = ${Number(control("height").value).toFixed(1)} Å, ` +
      `${Number(control("thickness").value)} Å thick: ${placed.slab.length} atoms.${outlined}`;
    control("threshold-value").value = Number(control("threshold").value).toFixed(4);
    control("height-value").value = `${Number(control("height").value).toFixed(1)} Å`;
    control("thickness-value").value = `${Number(control("thickness").value)} Å`;
  }

  let drawn = false;
  function draw() {
    const run = current();
    const placed = place(run);
    const kinds = judge(run);
    const found = sorted(kinds);
    const paint = colouring(run);
    control("false").disabled = Boolean(paint);
    const moved = paint?.values === run.d2min;
    const chosen = kinds.map((kind, atom) => (moved ? run.label[atom] === 1 : kind === "hit" || kind === "false"));
    draw3d(run, placed, found, paint, chosen);
    drawSlice(run, placed, kinds, paint, chosen);
    tell(run, placed, found, paint);
    drawn = true;
  }

  // Through the most mobile atom, or the most confident one if no D²min is stored.
  function centre() {
    const run = current();
    control("height").max = run.cell[2][2];
    control("height").value = share(run, run.core, 2) * run.cell[2][2];
    control("thickness").max = Math.min(15, run.cell[2][2]);
    const option = control("colour").querySelector('[value="d2min"]');
    option.disabled = !run.d2min;
    if (!run.d2min && control("colour").value === "d2min") control("colour").value = "outcome";
    control("core").textContent = `through the most ${run.d2min ? "mobile" : "confident"} atom`;
  }

  scene.runs.forEach((run, number) => {
    const moved = bytes(run.label).reduce((sum, value) => sum + value, 0);
    control("run").add(new Option(
      `specimen ${run.specimen}, ${run.direction} (${moved} moved first)`, number));
  });
  for (const [name, value] of Object.entries(scene.thresholds)) {
    const button = document.createElement("button");
    button.textContent = name;
    button.onclick = () => { control("threshold").value = value; draw(); };
    control("thresholds").append(button, " ");
  }
  control("run").value = scene.start;
  control("threshold").value = Object.values(scene.thresholds)[0];
  control("thickness").value = 3;
  centre();
  control("run").onchange = () => { centre(); draw(); };
  control("core").onclick = () => { centre(); draw(); };
  for (const name of ["colour", "others", "false", "only", "centred"]) control(name).onchange = draw;
  let waiting = 0;
  const soon = () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(draw); };
  for (const name of ["threshold", "height", "thickness"]) control(name).oninput = soon;
  // The 3D view is the costly one: it is drawn when it comes near the screen, or is printed.
  new IntersectionObserver((entries, observer) => {
    if (entries.some((entry) => entry.isIntersecting)) { observer.disconnect(); if (!drawn) draw(); }
  }, { rootMargin: "400px" }).observe(element("view"));
  addEventListener("resize", () => { if (drawn) soon(); });
  addEventListener("beforeprint", () => {
    if (!drawn) draw();
    Plotly.relayout("view", { width: 400, autosize: false });
  });
  addEventListener("afterprint", () => Plotly.relayout("view", { width: null, autosize: true }));
})();
