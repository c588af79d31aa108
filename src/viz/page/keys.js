// ---------------------------------------------------------------------------------------- The keys

const cycled = (value, by, count) => (value + by + count) % count;

function nextView(by) {
  const at = data.views.indexOf(currentView());
  if (at < 0 || state.tab === BEAMS_TAB) return;
  change({ view: data.views[cycled(at, by, data.views.length)].name });
}

function nextLayer(by) {
  const view = currentView();
  if (!view) return;
  if (state.tab !== ROLLOUT_TAB) return change({ layer: cycled(currentLayer(view), by, view.layers) });
  rollThrough(view, cycled(currentThrough(view), by, view.layers));
}

function nextHead(by) {
  const view = currentView();
  if (!view) return;
  const head = currentHead(view);
  const next = cycled(head === MEAN ? view.heads : head, by, view.heads + 1);
  change({ head: next === view.heads ? MEAN : next });
}

const KEYS = [
  { keys: ["v", "V"], text: "next or previous attention", act: (key) => nextView(key === "v" ? 1 : -1) },
  { keys: ["l", "L"], text: "next or previous layer", act: (key) => nextLayer(key === "l" ? 1 : -1) },
  { keys: ["h", "H"], text: "next or previous head", act: (key) => nextHead(key === "h" ? 1 : -1) },
  { keys: ["s"], text: "strongest colour: the largest weight, or 1",
    act: () => change({ scale: state.scale === "one" ? "largest" : "one" }) },
  { keys: ["+", "\u2212", "0"], text: "larger, smaller or usual cells", act: null },
  { keys: ["?"], text: "this help", act: () => byId("help").showModal() },
];

const MORE_HELP = [
  ["1 \u2026 6", "the tabs, from left to right"],
  ["\u2190 \u2191 \u2192 \u2193", "walk through tabs, tokens, heads or cells, or step the search"],
  ["Enter", "on a token: keep its lines; on a head: open its matrix"],
  ["Shift + click", "on a head\u2019s colour: this head alone, as a double click does"],
  ["Esc", "let go of a token, or close this"],
];

function actOnKey(key) {
  const tab = availableTabs()[Number(key) - 1];
  if (/^[1-9]$/.test(key) && tab) return goToTab(tab), true;
  const zoom = { "+": 1, "=": 1, "-": -1, "\u2212": -1 }[key];
  if (zoom && currentContent().zoom) return currentContent().zoom(zoom), true;
  if (key === "0" && currentContent().zoom) return change({ cell: 0 }), true;
  const found = KEYS.find(({ keys, act }) => act && keys.includes(key));
  if (!found) return false;
  found.act(key);
  return true;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const takesKeys = event.target.matches?.("select, input:not([type=checkbox]):not([type=radio])");
  const isArrow = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const isRadio = event.target.matches?.("input[type=radio]");
  if (isArrow && state.tab === BEAMS_TAB && !takesKeys && !isRadio) {
    event.preventDefault();
    return currentContent().stepBy(isArrow);
  }
  if (event.key === "Escape") return hideTooltip(), currentContent().escape?.();
  if (takesKeys || !state.keys) return;
  if (actOnKey(event.key)) event.preventDefault();
}

function buildHelp() {
  const dialog = byId("help");
  const key = (text) => element("kbd", {}, text);
  const line = (keys, text) => [element("dt", {}, ...keys), element("dd", {}, text)];
  byId("help-keys").append(
      ...MORE_HELP.flatMap(([keys, text]) => line([key(keys)], text)),
      ...KEYS.flatMap(({ keys, text }) => line(keys.flatMap((one) => [key(one), " "]), text)));
  byId("help-button").addEventListener("click", () => dialog.showModal());
  byId("help-close").addEventListener("click", () => dialog.close());
  byId("help-toggle").addEventListener("change", (event) => change({ keys: event.target.checked }));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}
