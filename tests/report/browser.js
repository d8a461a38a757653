// Works the page as a reader does and tells what it saw; test_page_in_browser.py judges it.
(async () => {
  const seen = { errors: window.errors };
  const element = (name) => document.getElementById(name);
  const frames = async (number) => {
    for (let n = 0; n < number; n++) await new Promise((done) => requestAnimationFrame(done));
  };
  const set = async (name, value, event) => {
    const control = element(name);
    control[control.type === "checkbox" ? "checked" : "value"] = value;
    control.dispatchEvent(new Event(event));
    await frames(3);
  };
  const clouds = () => Object.fromEntries(element("view").data.filter((trace) => trace.name)
    .map((trace) => [trace.name, trace.x.length]));
  const look = () => ({ clouds: clouds(), text: element("view-text").textContent, slice: element("slice").data[1].x.length,
    told: element("slice-text").textContent, counts: element("view-counts").textContent });
  const order = (table) => [...table.tBodies[0].rows].map((row) => row.cells[1].dataset.key);
  try {
    await frames(3);
    seen.plots = Object.fromEntries([...document.querySelectorAll(".plot")].map((plot) => [plot.id, {
      traces: plot.data?.length, svg: plot.querySelectorAll("svg.main-svg").length,
      panels: Object.keys(plot.layout ?? {}).filter((key) => /^xaxis/.test(key)).map((key) => plot.layout[key].domain) }]));
    seen.early = Boolean(element("view").data);
    element("view").scrollIntoView({ behavior: "instant" });
    for (let n = 0; n < 200 && !element("view").data; n++) await frames(1);
    await frames(3);
    seen.canvas = element("view").querySelectorAll("canvas").length;
    seen.runs = [...element("view-run").options].map((option) => option.text);
    seen.chosen = Number(element("view-run").value);
    seen.first = look();
    const buttons = [...element("view-thresholds").querySelectorAll("button")];
    seen.buttons = buttons.map((button) => button.textContent);
    buttons[1].click();
    await frames(3);
    seen.validation = { value: Number(element("view-threshold").value), ...look() };
    await set("view-threshold", 0.25, "input");
    seen.quarter = look();
    await set("view-false", false, "change");
    seen.withoutFalse = clouds();
    await set("view-others", false, "change");
    seen.withoutOthers = clouds();
    await set("view-others", true, "change");
    await set("view-colour", "confidence", "change");
    seen.confidence = element("slice").data[1].marker.color.map(Number);
    seen.disabled = element("view-false").disabled;
    await set("view-colour", "d2min", "change");
    seen.mobility = { axis: element("view").layout.coloraxis.colorbar.title.text, clouds: clouds() };
    await set("view-only", true, "change");
    seen.only = { clouds: clouds(), slice: element("slice").data[1].x.length };
    await set("view-only", false, "change");
    const before = Number(element("view-height").value);
    await set("view-height", 0, "input");
    seen.low = look();
    element("view-core").click();
    await frames(3);
    seen.core = [before, Number(element("view-height").value)];
    await set("view-thickness", 6, "input");
    seen.thick = look();
    await set("view-run", (seen.chosen + 1) % seen.runs.length, "change");
    seen.other = look();
    const table = document.querySelector("#remedies table.sortable");
    const head = table.tHead.rows[0].cells[1];
    head.querySelector("button").click();
    seen.sorted = [head.getAttribute("aria-sort"), order(table)];
    head.querySelector("button").click();
    seen.again = [head.getAttribute("aria-sort"), order(table)];
    const legend = element("stress_strain-plot").querySelector(".legendtoggle");
    for (const kind of ["mousedown", "mouseup"]) legend.dispatchEvent(new MouseEvent(kind, { bubbles: true }));
    await new Promise((done) => setTimeout(done, 900));
    const hidden = element("stress_strain-plot")._fullData.filter((trace) => trace.visible !== true);
    seen.hidden = hidden.map((trace) => [trace.legendgroup, trace.visible]);
    seen.hacked = window.hacked ?? null;
  } catch (error) {
    seen.errors.push(String(error.stack));
  }
  console.log(`SEEN ${JSON.stringify(seen)} END`);
})();
