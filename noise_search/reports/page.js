"use strict";
const FIGURES = JSON.parse(document.getElementById("figures").textContent);
const FONT = 'system-ui, "Segoe UI", "DejaVu Sans", sans-serif';
const COLOURS = {
  // Letters in ink can be read on every colour of the scale: Plotly would choose black or white, and misses.
  light: { ink: "#1d2733", line: "#dfe4ea", box: "#ffffff", scale: ["#e07b2e", "#f0b77d", "#f3f4f5", "#8fc3e8", "#4f9ed6"] },
  dark: { ink: "#dfe5ec", line: "#333c46", box: "#1c2229", scale: ["#9c4f18", "#6b4019", "#232a32", "#22506f", "#1a68a3"] },
};
const PRINTED_WIDTH = 680;
const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;

function theme() {
  return root.style.colorScheme || (dark.matches ? "dark" : "light");
}

function themed(layout, name, width) {
  const { ink, line, box, scale } = COLOURS[name];
  const axis = { gridcolor: line, linecolor: line, zerolinecolor: line };
  const template = {
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: FONT, size: 12 },
      hoverlabel: { bgcolor: box, bordercolor: line, font: { color: ink, family: FONT } },
      xaxis: axis,
      yaxis: axis,
    },
  };
  const added = width ? { template, width } : { template };
  if (layout.coloraxis) {
    const colorscale = scale.map((colour, place) => [place / (scale.length - 1), colour]);
    added.coloraxis = { ...layout.coloraxis, colorscale };
  }
  return { ...layout, ...added };
}

function draw(name, width) {
  for (const drawing of document.querySelectorAll(".drawing")) {
    const { data, layout } = structuredClone(FIGURES[drawing.dataset.figure]);
    for (const trace of data) {
      if (trace.type === "heatmap") trace.textfont = { color: COLOURS[name].ink };
    }
    const config = { responsive: true, displaylogo: false, displayModeBar: false };
    Plotly.react(drawing, data, themed(layout, name, width), config);
  }
}

document.getElementById("theme").addEventListener("click", () => {
  root.style.colorScheme = theme() === "dark" ? "light" : "dark";
  draw(theme());
});
dark.addEventListener("change", () => draw(theme()));
addEventListener("beforeprint", () => draw("light", PRINTED_WIDTH));
addEventListener("afterprint", () => draw(theme()));
draw(theme());
