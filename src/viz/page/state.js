// ---------------------------------------------------------------------- What is shown (the state)

let data = null;
let state = null;

const HEADS_TAB = "heads", MODEL_TAB = "model", MATRIX_TAB = "matrix", ROLLOUT_TAB = "rollout",
      ENTROPY_TAB = "entropy", BEAMS_TAB = "beams";
const MEAN = "mean", FIT = "fit";
const SMALLEST_CELL = 2, LARGEST_CELL = 64;

function defaultState() {
  return {
    tab: data.views.length > 0 ? HEADS_TAB : BEAMS_TAB,
    view: data.views.length > 0 ? data.views[0].name : null,
    layer: 0,
    head: 0,           // or MEAN
    heads: null,       // those whose lines are drawn; null = all
    scale: "largest",  // what the strongest colour or line is: the largest weight shown, or 1 ("one")
    through: null,     // the last layer of the rollout; null = all
    cell: 0,           // side of a matrix cell in px; 0 = by the number of cells, or FIT
    step: 0,           // index in the beams
    dropped: null,     // whether dropped hypotheses are shown; null = where they are few
    keys: true,        // whether single keys steer the page
  };
}

const currentView = () => data.views.find((view) => view.name === state.view);
// A layer or head stays chosen while a smaller view is looked at.
const currentLayer = (view) => Math.min(state.layer, view.layers - 1);
const currentHead = (view) => (state.head === MEAN ? MEAN : Math.min(state.head, view.heads - 1));
const currentHeads = (view) =>
    (state.heads === null ? range(view.heads) : state.heads.filter((head) => head < view.heads));
const currentThrough = (view) =>
    (state.through === null ? view.layers - 1 : Math.min(state.through, view.layers - 1));

const mostOf = (what) => Math.max(1, ...data.views.map((view) => view[what]));

function numberFrom(text, count) {
  const number = /^\d{1,6}$/.test(text ?? "") ? Number(text) : NaN;
  return number < count ? number : undefined;
}

// Reads a part of the address; undefined where it says nothing that fits, so that a link made for
// another sentence opens as much of it as there is.
const PARTS = {
  tab: (text) => (availableTabs().some((tab) => tab.id === text) ? text : undefined),
  view: (text) => data.views.find((view) => view.name === text)?.name,
  layer: (text) => numberFrom(text, mostOf("layers")),
  head: (text) => (text === MEAN ? MEAN : numberFrom(text, mostOf("heads"))),
  heads: (text) => {
    const heads = text === "" ? [] : text.split(",").map((one) => numberFrom(one, mostOf("heads")));
    return heads.includes(undefined) ? undefined : [...new Set(heads)].sort((a, b) => a - b);
  },
  scale: (text) => (text === "one" ? text : undefined),
  through: (text) => numberFrom(text, mostOf("layers")),
  cell: (text) => {
    const cell = numberFrom(text, LARGEST_CELL + 1);
    return text === FIT ? FIT : cell >= SMALLEST_CELL ? cell : undefined;
  },
  step: (text) => numberFrom(text, data.beams.length),
  dropped: (text) => ({ yes: true, no: false })[text],
  keys: (text) => (text === "no" ? false : undefined),
};

function stateFromHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const read = defaultState();
  for (const [name, parse] of Object.entries(PARTS)) {
    const value = given.has(name) ? parse(given.get(name)) : undefined;
    if (value !== undefined) read[name] = value;
  }
  return read;
}

function hashFromState() {
  const usual = defaultState();
  const words = { true: "yes", false: "no" };
  const parts = Object.keys(PARTS)
      .filter((name) => name === "tab" || name === "view" || state[name] !== usual[name])
      .filter((name) => state[name] !== null)
      .map((name) => [name, words[state[name]] ?? String(state[name])]);
  return `#${new URLSearchParams(parts).toString().replace(/%2C/g, ",")}`;
}

// Browsers limit how often the address may change, so it follows after a short pause. Another view
// or tab is a step to come back from; the rest is not.
let hashTimer = 0, hashIsStep = false;

function keepInAddress(isStep) {
  hashIsStep ||= isStep;
  clearTimeout(hashTimer);
  hashTimer = setTimeout(() => {
    const hash = hashFromState();
    const isStepNow = hashIsStep;
    hashIsStep = false;
    if (hash === location.hash) return;
    try {
      history[isStepNow ? "pushState" : "replaceState"](null, "", hash);
    } catch {
      // A viewer that forbids it, such as a sandboxed frame: the page works without.
    }
  }, 120);
}

function change(changes) {
  const isStep = ["tab", "view"].some((name) => name in changes && changes[name] !== state[name]);
  Object.assign(state, changes);
  keepInAddress(isStep);
  render();
}
