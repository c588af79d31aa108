// ------------------------------------------------------------------------------- Tooltip and voice

function moveTooltip(x, y) {
  const tooltip = byId("tooltip");
  const gap = 14;
  const { width, height } = tooltip.getBoundingClientRect();
  const left = x + gap + width > innerWidth ? x - gap - width : x + gap;
  const top = y + gap + height > innerHeight ? y - gap - height : y + gap;
  tooltip.style.transform = `translate(${Math.max(left, 4)}px, ${Math.max(top, 4)}px)`;
}

function showTooltip(x, y, ...content) {
  const tooltip = byId("tooltip");
  tooltip.replaceChildren(...content);
  tooltip.hidden = false;
  moveTooltip(x, y);
}

function hideTooltip() {
  byId("tooltip").hidden = true;
}

function say(text) {
  byId("spoken").textContent = text;
}

// ---------------------------------------------------------------------------------- Shared controls

function chooser(label, options, current, choose) {
  const select = element("select", { onchange: () => choose(select.value) },
                         ...options.map(([value, text]) => element("option", { value }, text)));
  select.value = String(current);
  return element("label", { class: "field" }, label, select);
}

const layerChooser = (view) => chooser(
    "Layer", range(view.layers).map((i) => [i, i]), currentLayer(view),
    (value) => change({ layer: Number(value) }));

const headChooser = (view) => chooser(
    "Head", [...range(view.heads).map((i) => [i, i]), [MEAN, "mean over heads"]], currentHead(view),
    (value) => change({ head: value === MEAN ? MEAN : Number(value) }));

const scaleChooser = (label, largest, one = "0 to 1") => chooser(
    label, [["largest", largest], ["one", one]], state.scale,
    (value) => change({ scale: value }));

// Replaces controls, and gives the focus back to the one at its place.
function replaceControls(bar, ...controls) {
  const focusable = () => [...bar.querySelectorAll("select, button, input")];
  const at = focusable().indexOf(document.activeElement);
  bar.replaceChildren(...controls);
  if (at >= 0) focusable()[at]?.focus();
}

// How the rows of a view are to be read.
function readingNote(view) {
  const { rowName, columnName } = view;
  const foretells = rowName === "target" && Object.hasOwn(data.tokens, "target read");
  const query = foretells ? "the query that predicts this target token"
      : rowName.startsWith("target") ? "the query that has just read this target token"
      : `the query of this ${rowName} token`;
  const keys = view.isSelf ? "the same tokens" : `the ${columnName} tokens`;
  return `Each row is ${query}; its weights over ${keys} sum to 1.`;
}

const headName = (head) => (head === MEAN ? "mean over heads" : `head ${head}`);

function createColorBar(isFlat) {
  const title = element("div", { class: "color-bar-title" });
  const scale = element("div", { class: "color-bar-scale" });
  const ticks = element("div", { class: "color-bar-ticks" });
  const stops = STOPS.map(css).join(", ");
  scale.style.background = `linear-gradient(${isFlat ? "to right" : "to top"}, ${stops})`;
  return {
    element: element("div", { class: `color-bar${isFlat ? " flat" : ""}` }, title, scale, ticks),
    show(name, texts) {  // from the lowest to the highest
      title.textContent = name;
      ticks.replaceChildren(...[...texts].reverse().map((text) => element("span", {}, text)));
    },
  };
}
