// ------------------------------------------------------------------------- For tests and consoles

function viewNamed(name) {
  const view = data.views.find((one) => one.name === name);
  const known = data.views.map((one) => one.name).join(", ");
  if (!view) throw new RangeError(`expected a view (${known}), got ${name}`);
  return view;
}

function checkIndex(what, index, count) {
  if (!Number.isInteger(index) || index < 0 || index >= count) {
    throw new RangeError(`${what}: expected a number from 0 to ${count - 1}, got ${index}`);
  }
}

function weight(viewName, layer, head, row, column) {
  const view = viewNamed(viewName);
  checkIndex("layer", layer, view.layers);
  checkIndex("row", row, view.rows);
  checkIndex("column", column, view.columns);
  if (head === MEAN) return meanMatrix(view, layer).at(row, column);
  checkIndex("head", head, view.heads);
  return headMatrix(view, layer, head).at(row, column);
}

function rollout(viewName, through) {
  const view = viewNamed(viewName);
  if (!view.isSelf) return null;
  const { done } = advanceRollout(view, Infinity);
  const last = through ?? view.layers - 1;
  checkIndex("layer", last, view.layers);
  return range(view.rows).map((row) => range(view.columns).map((column) => done[last].at(row, column)));
}

function publish(error) {
  window.attendPage = Object.freeze({
    error,
    state: () => (data ? structuredClone(state) : null),
    views: () => data?.views.map(({ name, label, layers, heads, rows, columns }) =>
        ({ name, label, layers, heads, rows, columns })) ?? [],
    weight, rollout, color: viridis, lineStyle,
    entropy: (viewName) => structuredClone(entropies(viewNamed(viewName))),
  });
}

// ------------------------------------------------------------------------------------------- Start

function showError(message) {
  document.body.append(element(
      "div", { class: "page" },
      element("div", { class: "error", role: "alert" },
              element("h1", {}, "This page cannot show its data"), element("code", {}, message),
              element("p", { class: "note" }, "The data is in the element #attention-data of this file. " +
                  "Make the page anew, or look there for what is missing."))));
}

function showNothing() {
  byId("panels").append(element(
      "div", { class: "empty" },
      element("p", {}, "There is no attention in this file: its list of views is empty.")));
  byId("tabs").hidden = true;
}

function start() {
  data = readData(byId("attention-data").textContent);
  buildMasthead();
  buildViewChoice();
  buildTabs();
  buildHelp();
  byId("page").hidden = false;
  state = stateFromHash();
  publish(null);
  if (availableTabs().length === 0) return showNothing();
  render();
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", () => { state = stateFromHash(); render(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
  let resizing = 0;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(render, 80); });
}

try {
  start();
} catch (error) {
  if (!(error instanceof DataError)) console.error(error);
  data = null;
  publish(error.message);
  byId("page").hidden = true;
  showError(error.message);
}
