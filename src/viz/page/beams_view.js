// ------------------------------------------------------------------------------------ Tab: the beams

const NODE = { width: 124, height: 30, gapX: 44, gapY: 6, top: 32, left: 12 };
const FEW_HYPOTHESES = 12;  // a step with no more than these is shown whole

const FATE_SIGNS = { kept: "\u2192", finished: "\u2713", dropped: "\u2717" };
const fateOf = (hypothesis) =>
    (hypothesis.finished ? "finished" : hypothesis.kept ? "kept" : "dropped");

function ancestry(hypothesis) {
  const line = new Set();
  for (let at = hypothesis; at; at = at.parent) line.add(at);
  return line;
}

function svgElement(tag, attributes) {
  const made = document.createElementNS(byId("svg-model").namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function createBeamsTab(panel) {
  const note = element("p", { class: "note" });
  const bar = element("div", { class: "controls" });
  const inside = element("div", { class: "beam-canvas" });
  const tree = element(
      "div", { class: "beam-tree", role: "group", "aria-label": "All steps of the search" }, inside);
  const heading = element("h2", { "aria-live": "polite" });
  const list = element("ol", { class: "hypotheses" });
  panel.append(note, bar, tree, heading, list);

  let builtFor = null;        // whether dropped hypotheses are in the tree
  let marks = new Map();      // of a hypothesis: its node and its link
  let columns = [];
  let cards = new Map();
  let chosen = null;          // the hypothesis whose way is marked

  const showsDropped = () => state.dropped ??
      data.beams.every(({ hypotheses }) => hypotheses.length <= FEW_HYPOTHESES);
  const isShown = (hypothesis) => showsDropped() || fateOf(hypothesis) !== "dropped";

  const visibleOf = (step) => data.beams[step]?.hypotheses.filter(isShown) ?? [];

  function walk(event) {
    const at = [...marks.keys()].find((one) => marks.get(one).node === event.target);
    if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
    const beside = visibleOf(at.step), position = beside.indexOf(at);
    const after = visibleOf(at.step + 1);
    const next = {
      ArrowUp: beside[position - 1], ArrowDown: beside[position + 1],
      ArrowLeft: at.parent, ArrowRight: after.find((one) => one.parent === at) ?? after[0],
    }[event.key];
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    event.stopPropagation();
    if (next) choose(next);
  }

  function choose(hypothesis) {
    chosen = hypothesis;
    change({ step: hypothesis.step });
    marks.get(hypothesis).node.focus({ preventScroll: true });
  }
  tree.addEventListener("keydown", walk);

  const place = (step, position) => ({
    x: NODE.left + step * (NODE.width + NODE.gapX),
    y: NODE.top + position * (NODE.height + NODE.gapY),
  });

  function node(hypothesis, at) {
    const fate = fateOf(hypothesis);
    const last = hypothesis.tokens.at(-1) ?? "";
    const made = element("button", {
      type: "button", class: `beam-node ${fate}`, tabindex: -1,
      "aria-label": `Step ${data.beams[hypothesis.step].number}, ${shownToken(last)}, ${fate}, ` +
          signed(hypothesis.score, 4),
      title: hypothesis.tokens.join(" "),
      onclick: () => choose(hypothesis),
      onpointerenter: () => markWay(hypothesis),
      onpointerleave: () => markWay(chosen),
    }, tokenElement(last), element("span", { class: "score" }, signed(hypothesis.score, 2)));
    Object.assign(made.style, { left: `${at.x}px`, top: `${at.y}px`, width: `${NODE.width}px`,
                                height: `${NODE.height}px` });
    return made;
  }

  function link(from, to, fate) {
    const x0 = from.x + NODE.width, x1 = to.x, middle = (x0 + x1) / 2;
    const y0 = from.y + NODE.height / 2, y1 = to.y + NODE.height / 2;
    return svgElement("path", { class: fate, d: `M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}` });
  }

  function build() {
    builtFor = showsDropped();
    marks = new Map();
    columns = [];
    const places = new Map();
    const links = svgElement("svg", { "aria-hidden": "true" });
    const nodes = [];
    let longest = 0;
    data.beams.forEach(({ number }, step) => {
      const { x } = place(step, 0);
      const column = element("div", { class: "beam-column" });
      Object.assign(column.style, { left: `${x - 8}px`, width: `${NODE.width + 16}px` });
      const title = element("div", { class: "beam-heading" }, `step ${number}`);
      Object.assign(title.style, { left: `${x}px`, top: "6px", width: `${NODE.width}px` });
      columns.push(column);
      nodes.push(title);
      const visible = visibleOf(step);
      longest = Math.max(longest, visible.length);
      visible.forEach((hypothesis, position) => {
        const at = place(step, position);
        places.set(hypothesis, at);
        const mark = { node: node(hypothesis, at), link: null };
        if (hypothesis.parent) {
          mark.link = link(places.get(hypothesis.parent), at, fateOf(hypothesis));
          links.append(mark.link);
        }
        marks.set(hypothesis, mark);
        nodes.push(mark.node);
      });
    });
    const size = place(data.beams.length, longest);
    Object.assign(inside.style, { width: `${size.x - NODE.gapX + NODE.left}px`, height: `${size.y + 6}px` });
    inside.replaceChildren(...columns, links, ...nodes);
  }

  function markWay(hypothesis) {
    const way = ancestry(hypothesis);
    for (const [one, mark] of marks) {
      mark.node.classList.toggle("on-path", way.has(one));
      mark.link?.classList.toggle("on-path", way.has(one));
    }
    for (const [one, card] of cards) card.classList.toggle("on-path", one === hypothesis);
  }

  function card(hypothesis) {
    const fate = fateOf(hypothesis);
    const inherited = hypothesis.parent?.tokens.length ?? 0;
    const words = hypothesis.tokens.flatMap((token, i) => [
      tokenElement(token, "bdi", { class: `token${i >= inherited ? " new" : ""}` }), " "]);
    const { parent, step } = hypothesis;
    const from = parent ? `continues #${parent.rank + 1} of step ${data.beams[step - 1].number}`
        : "begins the search";
    const made = element(
        "li", { class: `hypothesis ${fate}`, onpointerenter: () => markWay(hypothesis),
                onpointerleave: () => markWay(chosen) },
        element("div", { class: "hypothesis-facts" },
                element("span", {}, `#${hypothesis.rank + 1}`),
                element("span", { class: `fate ${fate}` }, `${FATE_SIGNS[fate]} ${fate}`),
                element("span", { class: "score" }, `score ${signed(hypothesis.score, 4)}`),
                element("span", { class: "from" }, from)),
        element("div", { class: "hypothesis-tokens" }, ...words));
    cards.set(hypothesis, made);
    return made;
  }

  function showStep() {
    const { number, hypotheses } = data.beams[state.step];
    const count = (fate) => hypotheses.filter((one) => fateOf(one) === fate).length;
    const visible = visibleOf(state.step);
    heading.textContent = `Step ${number} of ${data.beams.at(-1).number}: ${count("kept")} kept, ` +
        `${count("finished")} finished, ${count("dropped")} dropped`;
    cards = new Map();
    list.replaceChildren(...visible.map(card));
    if (visible.length === 0) {
      list.append(element("li", { class: "empty" }, hypotheses.length === 0
          ? "This step has no hypotheses." : "All hypotheses of this step were dropped."));
    }
    columns.forEach((column, step) => column.classList.toggle("current", step === state.step));
    const entry = chosen ?? visible[0];
    for (const [one, mark] of marks) mark.node.tabIndex = one === entry ? 0 : -1;
    // The box alone is scrolled: the page stays where the reader has it.
    const { x } = place(state.step, 0);
    tree.scrollTo({ left: x - (tree.clientWidth - NODE.width) / 2,
                    behavior: reducedMotion.matches ? "auto" : "smooth" });
  }

  function controls() {
    const last = data.beams.length - 1;
    const button = (text, label, direction, isAtEnd) => element(
        "button", { type: "button", class: "button", "aria-label": label, disabled: isAtEnd,
                    onclick: () => stepBy(direction) }, text);
    const slider = element("input", {
      type: "range", min: 0, max: last, value: state.step, "aria-label": "Step",
      "aria-valuetext": `step ${data.beams[state.step].number}`,
      oninput: () => change({ step: Number(slider.value) }),
    });
    const dropped = element("input", { type: "checkbox", checked: showsDropped(),
                                       onchange: () => change({ dropped: dropped.checked }) });
    return [
      element("div", { class: "group" }, button("\u2190", "Step back", -1, state.step === 0), slider,
              button("\u2192", "Step on", 1, state.step === last)),
      element("label", { class: "field" }, dropped, "Show dropped hypotheses"),
    ];
  }

  function stepBy(direction) {
    const step = clamp(state.step + direction, 0, data.beams.length - 1);
    if (step !== state.step) change({ step });
  }

  return {
    stepBy,
    update() {
      note.textContent = "Beam search keeps the best hypotheses of each step and continues them; one " +
          "that ends is finished. A score is the log-probability of all tokens so far, in nats. The " +
          "arrow keys left and right step.";
      if (builtFor !== showsDropped()) build();
      // A range that is replaced while it is dragged would let go.
      if (bar.contains(document.activeElement) && document.activeElement.type === "range") syncControls();
      else replaceControls(bar, ...controls());
      if (chosen?.step !== state.step || !marks.has(chosen)) chosen = null;
      showStep();
      markWay(chosen);
    },
  };

  function syncControls() {
    const [back, on] = bar.querySelectorAll("button");
    const slider = bar.querySelector("input[type=range]");
    back.disabled = state.step === 0;
    on.disabled = state.step === data.beams.length - 1;
    slider.value = String(state.step);
    slider.setAttribute("aria-valuetext", `step ${data.beams[state.step].number}`);
  }
}
