// ------------------------------------------------------------------------------------ Drawing cells

// The colours of the numbers 0 to FULL, so that a picture is one table look-up a cell.
const colorTable = (() => {
  let table = null;
  return () => {
    if (table) return table;
    table = new Uint8Array(3 * (FULL + 1));
    for (let i = 0; i <= FULL; ++i) table.set(viridis(i / FULL), 3 * i);
    return table;
  };
})();

// One pixel a cell; CSS gives it its size, so zooming and scrolling draw nothing anew.
function paintCells(canvas, matrix, top) {
  canvas.width = matrix.columns;
  canvas.height = matrix.rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(matrix.columns, matrix.rows);
  const table = colorTable();
  const factor = top > 0 ? FULL / (top * matrix.divisor) : 0;
  const pixels = image.data;
  for (let i = 0; i < matrix.values.length; ++i) {
    const color = 3 * Math.min(Math.round(matrix.values[i] * factor), FULL);
    pixels[4 * i] = table[color];
    pixels[4 * i + 1] = table[color + 1];
    pixels[4 * i + 2] = table[color + 2];
    pixels[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// ------------------------------------------------------------------------------------- The heatmap

const LABEL_FONT_SIZE = 12;
const LEAST_LABEL = 12;    // px for a label's line; in smaller cells labels are left out regularly
const READABLE_CELL = 14;  // cells are not made smaller than this unless asked for
const NUMBERS_FROM = 38;   // px of a cell that holds a number
const MOST_NUMBERS = 900;

const measuring = document.createElement("canvas").getContext("2d");

function widestToken(tokens) {
  measuring.font = `${LABEL_FONT_SIZE}px ${getComputedStyle(document.body).fontFamily}`;
  return Math.max(...tokens.map((token) => measuring.measureText(shownToken(token)).width)) + 14;
}

// A matrix with its labels, to be hovered or walked through with the arrow keys.
//
// shown: { matrix, top, view, valueName }, where top is the value of the lightest colour.
function createHeatmap() {
  const canvas = element("canvas", { "aria-hidden": "true" });
  const numbers = element("div", { class: "heatmap-numbers", "aria-hidden": "true" });
  const mark = element("div", { class: "heatmap-cursor", hidden: true });
  const cells = element("div", {
    class: "heatmap-cells", tabindex: 0, role: "application", "aria-roledescription": "heatmap",
  }, canvas, numbers, mark);
  const corner = element("div", { class: "heatmap-corner", "aria-hidden": "true" });
  const columnBox = element("div", { class: "heatmap-columns", "aria-hidden": "true" });
  const rowBox = element("div", { class: "heatmap-rows", "aria-hidden": "true" });
  const root = element("div", { class: "heatmap" },
                       element("div", { class: "heatmap-inner" },
                               element("div", { class: "heatmap-top" }, corner, columnBox),
                               element("div", { class: "heatmap-body" }, rowBox, cells)));
  let shown = null, cell = 0, labelsOf = null, cursor = null;
  let rowLabels = [], columnLabels = [];

  // What the colour bar leaves, which stands beside or below.
  function roomAcross() {
    const { clientWidth, lastElementChild: bar } = root.parentElement;
    const isBeside = getComputedStyle(root.parentElement).flexDirection === "row";
    return isBeside ? clientWidth - bar.offsetWidth - 16 : clientWidth;
  }

  function labelSizes() {
    const room = roomAcross();
    const { rowTokens, rowName, columnName } = shown.view;
    const corner = [`${rowName} \u2193`, `${columnName} \u2192`];
    return {
      width: Math.ceil(clamp(widestToken([...rowTokens, ...corner]), 56, Math.min(200, room * 0.36))),
      height: Math.ceil(clamp(widestToken(shown.view.columnTokens), 48, 150)),
    };
  }

  function cellSize(labels) {
    const { rows, columns } = shown.matrix;
    const wide = (roomAcross() - labels.width - 32) / columns;
    const high = (Math.max(innerHeight * 0.84, 320) - labels.height - 32) / rows;
    const fitting = Math.floor(Math.min(wide, high));
    if (state.cell === FIT) return clamp(fitting, SMALLEST_CELL, 44);
    return state.cell > 0 ? state.cell : clamp(fitting, READABLE_CELL, 44);
  }

  function labels(tokens, place) {
    const step = Math.ceil(LEAST_LABEL / cell);
    const height = cell * step;
    const made = [];
    for (let i = 0; i < tokens.length; i += step) {
      const label = tokenElement(tokens[i], "div",
                                 { class: "token heatmap-label", title: tokens[i] });
      label.style.height = label.style.lineHeight = `${height}px`;
      label.style.fontSize = `${Math.min(LABEL_FONT_SIZE, height)}px`;
      place(label, i * cell, height);
      made[i] = label;
    }
    return made;
  }

  function layOut() {
    const sizes = labelSizes();
    cell = cellSize(sizes);
    const { rows, columns } = shown.matrix;
    const key = [shown.view.name, cell, sizes.width, sizes.height].join();
    if (key === labelsOf) return;
    labelsOf = key;
    corner.style.width = rowBox.style.width = `${sizes.width}px`;
    corner.style.height = columnBox.style.height = `${sizes.height}px`;
    columnBox.style.width = cells.style.width = `${cell * columns}px`;
    rowBox.style.height = cells.style.height = `${cell * rows}px`;
    mark.style.width = mark.style.height = `${cell}px`;
    canvas.className = cell * devicePixelRatio >= 2 ? "pixelated" : "";
    corner.replaceChildren(element("span", {}, `${shown.view.columnName} \u2192`),
                           element("span", {}, `${shown.view.rowName} \u2193`));
    rowLabels = labels(shown.view.rowTokens, (label, at) => { label.style.top = `${at}px`; });
    columnLabels = labels(shown.view.columnTokens, (label, at, height) => {
      label.style.width = `${sizes.height}px`;
      label.style.transform = `translate(${at + height}px, 0) rotate(-90deg)`;
    });
    rowBox.replaceChildren(...rowLabels.filter(Boolean));
    columnBox.replaceChildren(...columnLabels.filter(Boolean));
  }

  function writeNumbers() {
    const { matrix, top } = shown;
    const fits = cell >= NUMBERS_FROM && matrix.values.length <= MOST_NUMBERS;
    numbers.hidden = !fits;
    if (!fits) return numbers.replaceChildren();
    numbers.style.gridTemplateColumns = `repeat(${matrix.columns}, ${cell}px)`;
    numbers.style.gridAutoRows = `${cell}px`;
    numbers.replaceChildren(...range(matrix.values.length).map((i) => {
      const value = matrix.values[i] / matrix.divisor;
      const number = element("span", {}, value.toFixed(2));
      number.style.color = readableOn(viridis(top > 0 ? value / top : 0));
      return number;
    }));
  }

  function pointTo(next) {
    if (cursor) {
      rowLabels[cursor.row]?.classList.remove("active");
      columnLabels[cursor.column]?.classList.remove("active");
    }
    cursor = next;
    mark.hidden = !next;
    if (!next) return hideTooltip();
    rowLabels[next.row]?.classList.add("active");
    columnLabels[next.column]?.classList.add("active");
    mark.style.transform = `translate(${next.column * cell}px, ${next.row * cell}px)`;
  }

  function explain({ row, column }, x, y) {
    const { view, matrix, valueName } = shown;
    const value = matrix.at(row, column).toFixed(4);
    showTooltip(
        x, y,
        element("div", {}, tokenElement(view.rowTokens[row], "bdi", { "data-part": "row" }),
                " \u2192 ", tokenElement(view.columnTokens[column], "bdi", { "data-part": "column" })),
        element("div", {}, element("span", { class: "value", "data-part": "value" }, value),
                ` ${valueName}`),
        element("div", {}, `row ${row}, column ${column}`));
    return `${view.rowTokens[row]} to ${view.columnTokens[column]}: ${value}`;
  }

  function cellAt(event) {
    const box = cells.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / cell);
    const row = Math.floor((event.clientY - box.top) / cell);
    const { rows, columns } = shown.matrix;
    return row >= 0 && row < rows && column >= 0 && column < columns ? { row, column } : null;
  }

  function hover(event) {
    const under = cellAt(event);
    if (!under) return pointTo(null);
    if (!cursor || cursor.row !== under.row || cursor.column !== under.column) {
      pointTo(under);
      explain(under, event.clientX, event.clientY);
    } else {
      moveTooltip(event.clientX, event.clientY);
    }
  }

  // The labels stick to the edges and would hide a cell that is merely inside the box.
  function scrollToCursor() {
    const x = cursor.column * cell, y = cursor.row * cell;
    const width = root.clientWidth - rowBox.offsetWidth, height = root.clientHeight - corner.offsetHeight;
    root.scrollLeft = clamp(root.scrollLeft, x + cell - width + 2, Math.max(x - 2, 0));
    root.scrollTop = clamp(root.scrollTop, y + cell - height + 2, Math.max(y - 2, 0));
  }

  function walkTo(next) {
    pointTo(next);
    scrollToCursor();
    const box = mark.getBoundingClientRect();
    say(explain(next, box.right, box.bottom));
  }

  function walk(event) {
    const { rows, columns } = shown.matrix;
    const { row, column } = cursor ?? { row: 0, column: 0 };
    const next = {
      ArrowUp: { row: row - 1, column }, ArrowDown: { row: row + 1, column },
      ArrowLeft: { row, column: column - 1 }, ArrowRight: { row, column: column + 1 },
      Home: { row, column: 0 }, End: { row, column: columns - 1 },
    }[event.key];
    if (!next || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    walkTo({ row: clamp(next.row, 0, rows - 1), column: clamp(next.column, 0, columns - 1) });
  }

  cells.addEventListener("pointermove", hover);
  cells.addEventListener("pointerdown", hover);
  cells.addEventListener("pointerleave", () => pointTo(null));
  cells.addEventListener("keydown", walk);
  cells.addEventListener("focus", () => {
    if (cells.matches(":focus-visible")) walkTo(cursor ?? { row: 0, column: 0 });
  });
  cells.addEventListener("blur", () => pointTo(null));
  root.addEventListener("scroll", () => { if (document.activeElement !== cells) pointTo(null); });

  return {
    element: root,
    show(next) {
      const sameTokens = shown?.view === next.view;
      const kept = sameTokens && document.activeElement === cells ? cursor : null;
      pointTo(null);
      shown = next;
      cells.setAttribute("aria-label", `${next.view.label}, ${next.valueName}: ` +
          `${next.view.rows} rows, ${next.view.columns} columns. Arrow keys walk through the cells.`);
      layOut();
      paintCells(canvas, next.matrix, next.top);
      writeNumbers();
      if (!sameTokens) root.scrollTo(0, 0);
      if (kept) walkTo(kept);
    },
    cellSize: () => cell,
  };
}

// Steps that look equal: a quarter more or less.
function zoomed(cell, direction) {
  const next = direction > 0 ? Math.max(Math.round(cell * 1.25), cell + 1)
      : Math.min(Math.round(cell / 1.25), cell - 1);
  return clamp(next, SMALLEST_CELL, LARGEST_CELL);
}

function zoomControls(heatmap) {
  const zoom = (direction) => change({ cell: zoomed(heatmap.cellSize(), direction) });
  return element(
      "div", { class: "group", role: "group", "aria-label": "Size of the cells" },
      element("button", { type: "button", class: "button", "aria-label": "Smaller cells",
                          onclick: () => zoom(-1) }, "\u2212"),
      element("button", { type: "button", class: "button", "aria-label": "Larger cells",
                          onclick: () => zoom(1) }, "+"),
      element("button", { type: "button", class: "button", "aria-pressed": state.cell === FIT,
                          onclick: () => change({ cell: state.cell === FIT ? 0 : FIT }) },
              "Fit"));
}

// A heatmap with its colour bar.
function createMatrixArea() {
  const heatmap = createHeatmap();
  const bar = createColorBar(false);
  return {
    heatmap,
    element: element("div", { class: "matrix-area" }, heatmap.element, bar.element),
    show(view, matrix, valueName, barTitle) {
      const top = state.scale === "one" ? 1 : largestOf(matrix);
      heatmap.show({ view, matrix, top, valueName });
      bar.show(barTitle, ["0", (top / 2).toFixed(4), top.toFixed(4)]);
    },
  };
}
