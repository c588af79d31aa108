// -------------------------------------------------------------------------------- Tab: the head view

const TOKEN_HEIGHT = 24;
const MOST_LINES = 6000;  // more than these are a grey field that takes seconds to draw
const STRENGTHS = 255;    // steps of opacity
const FAINTEST = 3;       // of them: about one hundredth, what is fainter cannot be seen
const TILE_HEIGHT = 512;

// How a weight looks as a line; `top` is the weight of the strongest one.
function lineStyle(weight, top) {
  const opacity = top > 0 ? clamp(weight / top, 0, 1) : 0;
  return { opacity, width: 1 + 2 * opacity };
}

// The largest weight of some heads of a layer, as it is stored.
function largestStored(view, layer, heads) {
  return Math.max(0, ...heads.map((head) => largestNumber(headMatrix(view, layer, head).values)));
}

// The strongest lines, the strongest first, as indices into view.weights. Counted, not compared:
// eight heads of 200 x 200 tokens are 320,000.
function strongestLines(view, layer, heads, top) {
  const size = view.rows * view.columns;
  const { weights } = view;
  const starts = heads.map((head) => (layer * view.heads + head) * size);
  const factor = top > 0 ? STRENGTHS / top : 0;
  const counts = new Uint32Array(STRENGTHS + 1);
  for (const start of starts) {
    for (let i = start; i < start + size; ++i) ++counts[Math.round(weights[i] * factor)];
  }
  const places = new Uint32Array(STRENGTHS + 1);
  let total = 0;
  for (let strength = STRENGTHS; strength >= FAINTEST; --strength) {
    places[strength] = total;
    total += counts[strength];
  }
  const lines = new Uint32Array(Math.min(total, MOST_LINES));
  for (const start of starts) {
    for (let i = start; i < start + size; ++i) {
      const strength = Math.round(weights[i] * factor);
      if (strength < FAINTEST) continue;
      const place = places[strength]++;
      if (place < lines.length) lines[place] = i;
    }
  }
  return { lines, total };
}

// A tall picture in tiles, of which those in sight and their neighbours are painted: a browser
// draws a long line into a tall canvas far more slowly than the same line into the pieces that are
// looked at, and refuses canvases that are too tall.
function createTiles(className, paintTogether) {
  const box = element("div", { class: `tiles ${className}` });
  let tiles = [], width = 0, paint = null, frame = 0;

  function sizeTile(tile) {
    const { canvas, top, height } = tile;
    canvas.width = Math.round(width * devicePixelRatio);
    canvas.height = Math.round(height * devicePixelRatio);
    const context = canvas.getContext("2d");
    context.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
    context.translate(0, -top);
    return context;
  }

  function distanceOutside({ top, height }) {
    const above = -box.getBoundingClientRect().top;
    return Math.max(top - (above + innerHeight), above - (top + height), 0);
  }

  function release(tile) {
    tile.canvas.width = tile.canvas.height = 0;
    tile.isPainted = false;
  }

  // One tile a frame, unless they are quick to paint.
  function paintVisible() {
    cancelAnimationFrame(frame);
    if (!paint) return;
    for (const tile of tiles) {
      if (tile.isPainted && distanceOutside(tile) > 4 * TILE_HEIGHT) release(tile);
    }
    const waiting = tiles.filter((tile) => !tile.isPainted && distanceOutside(tile) < TILE_HEIGHT / 2)
        .sort((a, b) => distanceOutside(a) - distanceOutside(b));
    const now = paintTogether ? waiting : waiting.slice(0, 1);
    for (const tile of now) {
      paint(sizeTile(tile), tile.top, tile.top + tile.height);
      tile.isPainted = true;
    }
    box.toggleAttribute("data-ready", waiting.length === now.length);
    if (waiting.length > now.length) frame = requestAnimationFrame(paintVisible);
  }

  return {
    element: box,
    paintVisible,
    show(size, paintTile) {  // paintTile(context, top, bottom)
      const count = Math.ceil(size.height / TILE_HEIGHT);
      if (tiles.length !== count || size.width !== width) {
        tiles = range(count).map(
            (i) => ({ top: i * TILE_HEIGHT, canvas: element("canvas"), isPainted: false }));
        box.replaceChildren(...tiles.map((tile) => tile.canvas));
      }
      width = size.width;
      for (const tile of tiles) {
        tile.height = Math.min(TILE_HEIGHT, size.height - tile.top);
        tile.canvas.style.top = `${tile.top}px`;
        tile.canvas.style.height = `${tile.height}px`;
        if (tile.isPainted) release(tile);
      }
      paint = paintTile;
      paintVisible();
    },
    clear() {
      paint = null;
      tiles.filter((tile) => tile.isPainted).forEach(release);
    },
  };
}

function createHeadsTab(panel) {
  const bar = element("div", { class: "head-bar controls" });
  const note = element("p", { class: "note" });
  const all = createTiles("all", false);
  const alone = createTiles("alone", true);
  const lineBox = element("div", { class: "lines", "aria-hidden": "true" }, all.element, alone.element);
  const sides = { queries: createTokenList("queries"), keys: createTokenList("keys") };
  const captions = { queries: element("div", { class: "side queries" }),
                     keys: element("div", { class: "side" }) };
  const figure = element("div", { class: "head-view" }, captions.queries, element("div"),
                         captions.keys, sides.queries.element, lineBox, sides.keys.element);
  figure.style.setProperty("--token-height", `${TOKEN_HEIGHT}px`);
  panel.append(note, bar, figure);

  let shown = null;  // { view, layer, heads, top (as stored), colors }
  let builtFor = null;
  const focus = { hovered: null, focused: null, pinned: null };  // each { side, index }
  const active = () => focus.hovered ?? focus.focused ?? focus.pinned;

  function createTokenList(side) {
    const list = element("ul", { class: `token-list ${side}`, role: "listbox" });
    return { element: list, rows: [], side };
  }

  function fillTokenList(side, tokens, label) {
    const list = sides[side];
    list.element.setAttribute("aria-label", label);
    list.rows = tokens.map((token, i) => element(
        "li", { class: "token-row", role: "option", "data-index": i, "aria-selected": "false",
                tabindex: i === 0 ? 0 : -1 },
        tokenElement(token, "span", { title: token }), element("span", { class: "token-weight" })));
    list.element.replaceChildren(...list.rows);
  }

  function lineSize() {
    const { rows, columns } = shown.view;
    return { width: lineBox.clientWidth, height: TOKEN_HEIGHT * Math.max(rows, columns) };
  }

  // Lines of different heads between the same tokens lie side by side.
  function offsetOf(head) {
    const { heads } = shown;
    return (heads.indexOf(head) - (heads.length - 1) / 2) * Math.min(2.5, 16 / heads.length);
  }

  // Draws lines, given as indices into the weights, as far as they cross a tile.
  function drawLines(context, lines, tileTop, tileBottom) {
    const { view, colors, top } = shown;
    const { width } = lineSize();
    const size = view.rows * view.columns;
    const offsets = new Map(shown.heads.map((head) => [head, TOKEN_HEIGHT / 2 + offsetOf(head)]));
    const reach = 2;  // px from a line's middle to its edge, rounded up
    let inkOf = -1;
    for (const index of lines) {
      const head = Math.floor(index / size) % view.heads;
      const middle = offsets.get(head);
      const from = Math.floor(index % size / view.columns) * TOKEN_HEIGHT + middle;
      const to = index % view.columns * TOKEN_HEIGHT + middle;
      if (Math.max(from, to) < tileTop - reach || Math.min(from, to) > tileBottom + reach) continue;
      if (head !== inkOf) {
        context.strokeStyle = colors.get(head);
        context.setLineDash(DASHES[dashOf(head)]);
        inkOf = head;
      }
      const style = lineStyle(view.weights[index], top);
      context.globalAlpha = style.opacity;
      context.lineWidth = style.width;
      context.beginPath();
      context.moveTo(0, from);
      context.lineTo(width, to);
      context.stroke();
    }
  }

  function drawAll() {
    const { view, layer, heads, top } = shown;
    const { lines, total } = strongestLines(view, layer, heads, top);
    lines.reverse();  // the strongest come on top
    lineBox.style.height = `${lineSize().height}px`;
    lineBox.dataset.lines = String(lines.length);
    all.show(lineSize(), (context, from, to) => drawLines(context, lines, from, to));
    return { drawn: lines.length, total };
  }

  // The weights of one token, one list a head, in the order of the tokens opposite.
  function linesOf({ side, index }) {
    const { view, layer, heads } = shown;
    const size = view.rows * view.columns;
    const [count, start, step] = side === "queries"
        ? [view.columns, index * view.columns, 1] : [view.rows, index, view.columns];
    return heads.map((head) => {
      const first = (layer * view.heads + head) * size + start;
      return range(count).map((i) => first + i * step);
    });
  }

  function showShares(focused) {
    const color = shown.heads.length === 1 ? shown.colors.get(shown.heads[0]) : null;
    const tint = color ? `color-mix(in srgb, ${color} 32%, var(--paper))` : "var(--bar)";
    figure.style.setProperty("--bar-color", tint);
    for (const { side, rows } of Object.values(sides)) {
      const isOpposite = focused !== null && side !== focused.side;
      const shares = isOpposite ? meanWeights(linesOf(focused)) : null;
      const top = shares ? Math.max(...shares) : 0;
      rows.forEach((row, i) => {
        const share = shares && top > 0 ? (shares[i] / top).toFixed(3) : "0";
        const number = shares ? shares[i].toFixed(4) : "";
        if (row.lastChild.textContent !== number) {
          row.style.setProperty("--share", share);
          row.lastChild.textContent = number;
        }
        row.classList.toggle("active", focused?.side === side && focused.index === i);
      });
    }
  }

  function meanWeights(linesByHead) {
    const count = linesByHead[0]?.length ?? 0;
    return range(count).map((i) => linesByHead.reduce(
        (sum, lines) => sum + shown.view.weights[lines[i]], 0) / (FULL * linesByHead.length));
  }

  function drawFocus() {
    const focused = shown.heads.length > 0 ? active() : null;
    lineBox.classList.toggle("focused", focused !== null);
    showShares(focused);
    if (focused === null) return alone.clear();
    const { view, top } = shown;
    const lines = linesOf(focused).flat()
        .filter((index) => STRENGTHS * lineStyle(view.weights[index], top).opacity >= FAINTEST)
        .sort((a, b) => view.weights[a] - view.weights[b]);
    alone.show(lineSize(), (context, from, to) => drawLines(context, lines, from, to));
  }

  const sameToken = (a, b) => a?.side === b?.side && a?.index === b?.index;

  function setFocus(kind, token) {
    if (sameToken(focus[kind], token)) return;
    const before = active();
    focus[kind] = token;
    if (!sameToken(before, active())) drawFocus();
  }

  function pin(token) {
    setFocus("pinned", sameToken(focus.pinned, token) ? null : token);
    for (const { side, rows } of Object.values(sides)) {
      rows.forEach((row, i) => {
        const isPinned = sameToken(focus.pinned, { side, index: i });
        row.classList.toggle("pinned", isPinned);
        row.setAttribute("aria-selected", isPinned);
      });
    }
  }

  function tokenAt(event, side) {
    const row = event.target.closest(".token-row");
    return row ? { side, index: Number(row.dataset.index) } : null;
  }

  function focusToken(side, index) {
    const { rows } = sides[side];
    const target = rows[clamp(index, 0, rows.length - 1)];
    for (const row of rows) row.tabIndex = row === target ? 0 : -1;
    target.focus();
  }

  function walk(event, side) {
    const token = tokenAt(event, side);
    if (!token || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {
      ArrowUp: () => focusToken(side, token.index - 1),
      ArrowDown: () => focusToken(side, token.index + 1),
      ArrowLeft: () => focusToken("queries", token.index),
      ArrowRight: () => focusToken("keys", token.index),
      Home: () => focusToken(side, 0),
      End: () => focusToken(side, Infinity),
      Enter: () => pin(token),
      " ": () => pin(token),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    moves[event.key]();
  }

  for (const { element: list, side } of Object.values(sides)) {
    list.addEventListener("pointerover", (event) => {
      if (event.pointerType !== "touch") setFocus("hovered", tokenAt(event, side));
    });
    list.addEventListener("pointerleave", () => setFocus("hovered", null));
    list.addEventListener("focusin", (event) => {
      if (event.target.matches(":focus-visible")) setFocus("focused", tokenAt(event, side));
    });
    list.addEventListener("focusout", () => setFocus("focused", null));
    list.addEventListener("click", (event) => {
      const token = tokenAt(event, side);
      if (token) pin(token);
    });
    list.addEventListener("keydown", (event) => walk(event, side));
  }
  addEventListener("scroll", () => {
    if (!shown || panel.hidden) return;
    all.paintVisible();
    alone.paintVisible();
  }, { passive: true });
  new ResizeObserver(() => {
    if (shown && lineBox.clientWidth > 0 && lineBox.clientWidth !== shown.width) redraw();
  }).observe(lineBox);

  function toggleHead(view, head) {
    const on = new Set(currentHeads(view));
    if (!on.delete(head)) on.add(head);
    setHeads(view, [...on].sort((a, b) => a - b));
  }

  function setHeads(view, heads) {
    change({ heads: heads.length === view.heads ? null : heads });
  }

  function swatch(view, head) {
    const color = headColor(head);
    const dash = DASH_CLASSES[dashOf(head)];
    const isOn = currentHeads(view).includes(head);
    const made = element("button", {
      type: "button", class: `swatch ${dash}`, "aria-pressed": isOn, "data-head": head,
      "aria-label": `Head ${head}`,
      title: `Head ${head}: click to ${isOn ? "hide" : "show"} it, double-click to show it alone`,
      // The first of two clicks has already toggled it; a replaced button gets no dblclick.
      onclick: (event) => (event.shiftKey || event.detail >= 2 ? setHeads(view, [head])
                                                                : toggleHead(view, head)),
    }, String(head));
    made.style.setProperty("--color", color);
    made.style.setProperty("--on-color", readableOn(rgbOf(color)));
    return made;
  }

  function controls(view) {
    const button = (text, heads) => element(
        "button", { type: "button", class: "button", onclick: () => setHeads(view, heads) }, text);
    return [
      layerChooser(view),
      element("div", { class: "group", role: "group", "aria-label": "Heads" }, "Heads",
              ...range(view.heads).map((head) => swatch(view, head)),
              button("All", range(view.heads)), button("None", [])),
      scaleChooser("Strongest line", "the largest weight", "weight 1"),
    ];
  }

  function lineNote({ drawn, total }) {
    if (shown.heads.length === 0) return "No head is on: choose one above to see its lines.";
    const most = (shown.top / FULL).toFixed(4);
    const cut = drawn < total
        ? ` Drawn are the ${grouped(drawn)} strongest of ${grouped(total)} lines; ` +
          "a token alone has all of its own."
        : "";
    return `${readingNote(shown.view)} A line is the stronger the larger its weight, up to ${most}. ` +
        `Hover a token for its lines alone, click it to keep them.${cut}`;
  }

  function redraw() {
    shown.width = lineBox.clientWidth;
    const count = drawAll();
    drawFocus();
    note.textContent = lineNote(count);
  }

  function rebuild(view) {
    builtFor = view;
    Object.assign(focus, { hovered: null, focused: null, pinned: null });
    captions.queries.textContent = `${view.rowName} (queries)`;
    captions.keys.textContent = `${view.columnName} (keys)`;
    fillTokenList("queries", view.rowTokens, `Queries: ${view.rowName} tokens`);
    fillTokenList("keys", view.columnTokens, `Keys: ${view.columnName} tokens`);
  }

  return {
    update() {
      const view = currentView();
      if (builtFor !== view) rebuild(view);
      replaceControls(bar, ...controls(view));
      const layer = currentLayer(view), heads = currentHeads(view);
      const top = state.scale === "one" ? FULL : largestStored(view, layer, heads);
      shown = { view, layer, heads, top, width: 0,
                colors: new Map(heads.map((head) => [head, headColor(head)])) };
      redraw();
    },
    escape() {
      if (focus.pinned) pin(focus.pinned);
    },
  };
}
