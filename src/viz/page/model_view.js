// ------------------------------------------------------------------------------ Tab: the model view

// A table of layers x heads whose cells are buttons; arrow keys walk through them.
function createHeadTable() {
  const table = element("table");
  const root = element("div", { class: "by-head" }, table);
  let buttons = [];

  function walk(event) {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const at = event.target.closest("button");
    if (!move || !at || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const next = buttons[Number(at.dataset.layer) + move[0]]?.[Number(at.dataset.head) + move[1]];
    if (!next) return;
    at.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
  table.addEventListener("keydown", walk);

  return {
    element: root,
    show(view, caption, createButton) {
      const layer = currentLayer(view);
      const head = state.head === MEAN ? 0 : currentHead(view);
      buttons = range(view.layers).map((l) => range(view.heads).map((h) => {
        const button = createButton(l, h);
        const isCurrent = l === layer && h === state.head;
        button.classList.toggle("current", isCurrent);
        if (isCurrent) button.setAttribute("aria-current", "true");
        Object.assign(button.dataset, { layer: l, head: h });
        button.tabIndex = l === layer && h === head ? 0 : -1;
        button.addEventListener("click", () => change({ tab: MATRIX_TAB, layer: l, head: h }));
        return button;
      }));
      const heading = element("tr", {}, element("td"), ...range(view.heads).map(
          (h) => element("th", { scope: "col" }, `head ${h}`)));
      const lines = buttons.map((line, l) => element(
          "tr", {}, element("th", { scope: "row" }, `layer ${l}`),
          ...line.map((button) => element("td", {}, button))));
      table.replaceChildren(element("caption", { class: "visually-hidden" }, caption),
                            element("thead", {}, heading), element("tbody", {}, ...lines));
    },
  };
}

function createModelTab(panel) {
  const note = element("p", { class: "note" });
  const bar = element("div", { class: "controls" });
  const table = createHeadTable();
  panel.append(note, bar, table.element);
  let observer = null;

  function paint(canvas) {
    const view = currentView();
    const matrix = headMatrix(view, Number(canvas.dataset.layer), Number(canvas.dataset.head));
    // Where many cells share a pixel they are averaged; where one has many it stays sharp.
    canvas.className = view.columns <= canvas.clientWidth * devicePixelRatio ? "pixelated" : "";
    paintCells(canvas, matrix, state.scale === "one" ? 1 : largestOf(matrix));
    canvas.dataset.painted = "yes";
  }

  function thumbnail(view, layer, head) {
    const canvas = element("canvas", { "data-layer": layer, "data-head": head });
    canvas.style.aspectRatio = String(clamp(view.columns / view.rows, 0.5, 2));
    return element("button", {
      type: "button", class: "thumbnail", "aria-label": `Layer ${layer}, head ${head}: open as a matrix`,
      title: `Layer ${layer}, head ${head}`,
    }, canvas);
  }

  return {
    update() {
      const view = currentView();
      note.textContent = `All heads of ${view.label}: rows are queries, columns are keys. ` +
          "Choose one to open it in the matrix view.";
      replaceControls(bar, scaleChooser("Colours", "each head up to its largest weight"));
      const room = panel.clientWidth - 90;
      const side = clamp(Math.floor(room / view.heads) - 6, 62, 168);
      table.show(view, `${view.label}: a picture of each head`,
                 (layer, head) => thumbnail(view, layer, head));
      observer?.disconnect();
      observer = new IntersectionObserver((entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          observer.unobserve(target);
          paint(target);
        }
      }, { rootMargin: "200px" });
      for (const canvas of table.element.querySelectorAll("canvas")) {
        canvas.parentElement.style.width = `${side}px`;
        observer.observe(canvas);
      }
    },
  };
}
