// ------------------------------------------------------------------------------- Reading the data

class DataError extends Error {}

function described(value) {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}\u2026`;
}

function check(holds, where, expected, got) {
  if (!holds) throw new DataError(`${where}: expected ${expected}, got ${got}`);
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isCount = (value) => Number.isInteger(value) && value >= 1;

function checkTokens(tokens, where) {
  check(Array.isArray(tokens), where, "a list of tokens", described(tokens));
  const at = tokens.findIndex((token) => typeof token !== "string");
  check(at < 0, `${where}[${at}]`, "text", described(tokens[at]));
  return tokens;
}

// Little-endian 16-bit numbers, whatever the machine's own order is.
function decodeWeights(text, shape, where) {
  const count = shape.reduce((a, b) => a * b);
  const length = 4 * Math.ceil(2 * count / 3);
  const expected = `${shape.join(" x ")} weights, ${length} characters of base64`;
  check(typeof text === "string", where, expected, described(text));
  check(text.length === length, where, expected, `${text.length} characters`);
  let bytes = "";
  try {
    bytes = atob(text);
  } catch {
    check(false, where, "base64", described(text));
  }
  check(bytes.length === 2 * count, where, `${2 * count} bytes`, `${bytes.length}`);
  const weights = new Uint16Array(count);
  for (let i = 0; i < count; ++i) {
    weights[i] = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
  }
  return weights;
}

function readView(given, tokens, index) {
  let where = `views[${index}]`;
  check(isObject(given), where, "a view", described(given));
  const { name, label, rows, columns, layers, heads } = given;
  check(typeof name === "string" && name !== "", `${where}.name`, "text", described(name));
  where = `view "${name}"`;
  for (const list of [rows, columns]) {
    const known = Object.keys(tokens).map((key) => `"${key}"`).join(" or ");
    check(typeof list === "string" && Object.hasOwn(tokens, list), where,
          `rows and columns that are lists of tokens (${known || "there are none"})`,
          described(list));
    check(tokens[list].length > 0, where, `tokens in the list "${list}"`, "an empty list");
  }
  check(isCount(layers), `${where}, layers`, "a number from 1", described(layers));
  check(isCount(heads), `${where}, heads`, "a number from 1", described(heads));
  const rowTokens = tokens[rows], columnTokens = tokens[columns];
  const shape = [layers, heads, rowTokens.length, columnTokens.length];
  return {
    name, label: typeof label === "string" && label !== "" ? label : name,
    rowName: rows, columnName: columns, layers, heads, rowTokens, columnTokens,
    rows: rowTokens.length, columns: columnTokens.length, isSelf: rows === columns,
    weights: decodeWeights(given.weights, shape, `${where}, weights`),
  };
}

function readHypothesis(given, earlier, where) {
  check(isObject(given), where, "a hypothesis", described(given));
  const { tokens, score, parent, kept, finished } = given;
  checkTokens(tokens, `${where}.tokens`);
  check(Number.isFinite(score), `${where}.score`, "a number", described(score));
  check(typeof kept === "boolean", `${where}.kept`, "true or false", described(kept));
  check(typeof finished === "boolean", `${where}.finished`, "true or false", described(finished));
  const hypothesis = { tokens, score, kept, finished, parent: null };
  if (!earlier) return hypothesis;
  // A parent is counted among those that the step before kept.
  const keptBefore = earlier.filter((one) => one.kept);
  check(Number.isInteger(parent) && parent >= 0 && parent < keptBefore.length, `${where}.parent`,
        `a number under ${keptBefore.length}, one of the hypotheses that the step before kept`,
        described(parent));
  hypothesis.parent = keptBefore[parent];
  const begin = hypothesis.parent.tokens;
  check(begin.every((token, i) => token === tokens[i]), `${where}.tokens`,
        `the tokens of the parent first, ${described(begin)}`, described(tokens));
  return hypothesis;
}

function readBeams(given) {
  if (given === undefined || given === null) return [];
  check(Array.isArray(given), "beams", "a list of steps", described(given));
  const steps = [];
  given.forEach((one, s) => {
    const where = `beams[${s}]`;
    check(isObject(one) && Array.isArray(one.hypotheses), where, "a step with hypotheses",
          described(one));
    const earlier = s > 0 ? steps[s - 1].hypotheses : null;
    const hypotheses = one.hypotheses.map(
        (h, i) => readHypothesis(h, earlier, `${where}.hypotheses[${i}]`));
    hypotheses.forEach((hypothesis, i) => Object.assign(hypothesis, { step: s, rank: i }));
    steps.push({ number: Number.isInteger(one.step) ? one.step : s + 1, hypotheses });
  });
  return steps;
}

const FORMAT = "attend attention 1";

function readData(text) {
  let given;
  try {
    given = JSON.parse(text);
  } catch (error) {
    check(false, "data", "JSON", `${described(text.trim())} (${error.message})`);
  }
  check(isObject(given), "data", "an object", described(given));
  check(given.format === FORMAT, "format", `"${FORMAT}"`, described(given.format));
  check(isObject(given.tokens), "tokens", "lists of tokens by name", described(given.tokens));
  for (const [name, list] of Object.entries(given.tokens)) checkTokens(list, `tokens "${name}"`);
  check(Array.isArray(given.views), "views", "a list of views", described(given.views));
  const views = given.views.map((view, i) => readView(view, given.tokens, i));
  const names = views.map((view) => view.name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  check(twice === undefined, "views", "names that differ", `"${twice}" twice`);
  return {
    title: typeof given.title === "string" ? given.title : "",
    model: typeof given.model === "string" ? given.model : "",
    tokens: given.tokens, views, beams: readBeams(given.beams),
  };
}
