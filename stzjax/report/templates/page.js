"use strict";
// Plotly offers to upload a chart unless it is told not to: nothing leaves this page.
const plotting = { responsive: true, displaylogo: false, displayModeBar: "hover",
  plotlyServerURL: "", modeBarButtonsToRemove: [
    "sendChartToCloud", "lasso2d", "select2d", "autoScale2d", "tableRotation",
    "resetCameraLastSave3d"] };
const narrow = matchMedia("screen and (max-width: 720px)");

(() => {
  // On a narrow screen the panels of a figure stand below each other.
  function stacked(layout) {
    const panels = Object.keys(layout).filter((key) => /^xaxis\d*$/.test(key));
    if (panels.length < 2) return layout;
    const deep = new Set(panels.map((x) => (layout[x.replace("x", "y")].domain ?? [0, 1])[1])).size;
    const { t, b } = layout.margin;
    const [high, gap] = [Math.max(170, layout.height / deep - t - b), 92];
    const total = panels.length * (high + gap) - gap;
    const copy = { ...layout, height: total + t + b, margin: { ...layout.margin, l: 48 } };
    panels.forEach((x, place) => {
      const y = x.replace("x", "y");
      const top = total - place * (high + gap);
      copy[x] = { ...layout[x], domain: [0, 1] };
      copy[y] = { ...layout[y], domain: [Math.max(0, top - high) / total, top / total], showticklabels: true };
    });
    if (layout.legend) {
      copy.margin.b += 50;
      copy.height += 50;
      copy.legend = { orientation: "h", x: 0, xanchor: "left", y: 0, yref: "container", yanchor: "bottom" };
    }
    return copy;
  }

  const figures = {};
  const draw = (name) => Plotly.react(name, figures[name].data,
    narrow.matches ? stacked(figures[name].layout) : figures[name].layout, plotting);
  for (const source of document.querySelectorAll("script[data-plot]")) {
    figures[source.dataset.plot] = JSON.parse(source.textContent);
    draw(source.dataset.plot);
  }
  narrow.addEventListener("change", () => Object.keys(figures).forEach(draw));
  // A printed page is narrower than the screen, and plotly does not notice.
  const resize = (width) => Object.keys(figures).forEach((name) =>
    Plotly.relayout(name, { width, autosize: width === null }));
  addEventListener("beforeprint", () => resize(680));
  addEventListener("afterprint", () => resize(null));

  // Numbers from the largest down, words from A; what is undefined stays below.
  function sort(table, column) {
    const heads = [...table.tHead.rows[0].cells];
    const key = (row) => row.cells[column].dataset.key;
    const body = table.tBodies[0];
    const [there, lost] = [[], []];
    for (const row of body.rows) (key(row) === undefined ? lost : there).push(row);
    const words = there.some((row) => Number.isNaN(Number(key(row))));
    const before = heads[column].getAttribute("aria-sort");
    const up = before ? before === "descending" : words;
    there.sort((a, b) => (up ? 1 : -1) *
      (words ? key(a).localeCompare(key(b)) : Number(key(a)) - Number(key(b))));
    body.append(...there, ...lost);
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
  }
  for (const table of document.querySelectorAll("table.sortable"))
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = head.querySelector("button");
      if (button) button.onclick = () => sort(table, column);
    });
})();
