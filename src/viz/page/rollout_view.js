// ---------------------------------------------------------------------------------- Tab: the rollout

const MOST_ROLLOUT_TOKENS = 1024;

function rollThrough(view, layer) {
  change({ through: layer === view.layers - 1 ? null : layer });
}

function createRolloutTab(panel) {
  const note = element("p", { class: "note" });
  const bar = element("div", { class: "controls" });
  const area = createMatrixArea();
  const empty = element("div", { class: "empty" });
  panel.append(note, bar, area.element, empty);
  let timer = 0;

  function showInstead(...content) {
    bar.hidden = area.element.hidden = note.hidden = true;
    empty.hidden = false;
    empty.replaceChildren(...content);
  }

  function whyNotCross(view) {
    const others = data.views.filter((other) => other.isSelf);
    const buttons = others.map((other) => element(
        "button", { type: "button", class: "button", onclick: () => change({ view: other.name }) },
        other.label));
    showInstead(
        element("h2", {}, "Rollout does not apply here"),
        element("p", {}, "Rollout follows attention through the layers of one sequence: it multiplies " +
            "the matrices of all layers, whose rows and columns are the same tokens. Here the rows are " +
            `${view.rowName} and the columns ${view.columnName} tokens: every layer looks at the same ` +
            "keys anew, and there is no product to take."),
        element("div", { class: "group", hidden: buttons.length === 0 }, "See the rollout of", ...buttons));
  }

  function showDone(view, through) {
    const layer = currentThrough(view);
    bar.hidden = area.element.hidden = note.hidden = false;
    empty.hidden = true;
    note.textContent = `${view.label}: how much of each token has reached each query after layer ${layer}, ` +
        "through all paths. In every layer the heads are averaged and half of the weight stays in place " +
        "(0.5 A + 0.5 I), as the residual connection does; the layers are multiplied. Rows are queries " +
        "and sum to 1. Abnar and Zuidema, 2020, arXiv:2005.00928.";
    const layers = range(view.layers).map((i) => [i, i]);
    replaceControls(
        bar, chooser("Through layer", layers, layer, (value) => rollThrough(view, Number(value))),
        scaleChooser("Colours", "0 to the largest share"), zoomControls(area.heatmap));
    area.show(view, through[layer], "rollout", "Rollout");
  }

  function goOn(view, milliseconds) {
    if (state.tab !== ROLLOUT_TAB || currentView() !== view) return;
    const rollout = advanceRollout(view, milliseconds);
    if (rollout.done) return showDone(view, rollout.done);
    showInstead(element("p", { role: "status" },
                        `Multiplying ${plural(view.layers, "layer")}: ${Math.floor(100 * rollout.share)} %`));
    timer = setTimeout(goOn, 0, view, 40);
  }

  return {
    zoom: (direction) => change({ cell: zoomed(area.heatmap.cellSize(), direction) }),
    update() {
      const view = currentView();
      clearTimeout(timer);
      if (!view.isSelf) return whyNotCross(view);
      if (view.rows > MOST_ROLLOUT_TOKENS) {
        return showInstead(element(
            "p", {}, `Rollout is not computed for more than ${grouped(MOST_ROLLOUT_TOKENS)} tokens, ` +
                `of which it takes the cube; there are ${grouped(view.rows)} here.`));
      }
      goOn(view, 150);
    },
  };
}
