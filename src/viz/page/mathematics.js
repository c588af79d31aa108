// ------------------------------------------------------------------------------------- Mathematics

const FULL = 65535;  // what stands for the weight 1

// A matrix is a list of numbers, row by row, and what they are divided by.
function headMatrix(view, layer, head) {
  const size = view.rows * view.columns;
  const start = (layer * view.heads + head) * size;
  return matrixOf(view, view.weights.subarray(start, start + size), FULL);
}

function matrixOf(view, values, divisor) {
  return {
    rows: view.rows, columns: view.columns, values, divisor,
    at: (row, column) => values[row * view.columns + column] / divisor,
  };
}

// Remembers what `compute` found for a view and a key.
function remembered(compute) {
  const known = new WeakMap();
  return (view, key) => {
    if (!known.has(view)) known.set(view, new Map());
    const found = known.get(view);
    if (!found.has(key)) found.set(key, compute(view, key));
    return found.get(key);
  };
}

const meanMatrix = remembered((view, layer) => {
  const size = view.rows * view.columns;
  const sums = new Float64Array(size);
  for (let head = 0; head < view.heads; ++head) {
    const { values } = headMatrix(view, layer, head);
    for (let i = 0; i < size; ++i) sums[i] += values[i];
  }
  return matrixOf(view, sums, FULL * view.heads);
});

function largestNumber(values) {
  let largest = 0;
  for (let i = 0; i < values.length; ++i) if (values[i] > largest) largest = values[i];
  return largest;
}

const largestOf = (matrix) => largestNumber(matrix.values) / matrix.divisor;

// 0.5 A + 0.5 I with rows that sum to 1, where A is the mean over the heads.
function withResidual(view, layer) {
  const { values, divisor } = meanMatrix(view, layer);
  const n = view.rows;
  const mixed = new Float64Array(n * n);
  for (let i = 0; i < n; ++i) {
    let sum = 0;
    for (let j = 0; j < n; ++j) {
      const value = 0.5 * values[i * n + j] / divisor + (i === j ? 0.5 : 0);
      mixed[i * n + j] = value;
      sum += value;
    }
    for (let j = 0; j < n; ++j) mixed[i * n + j] /= sum;
  }
  return mixed;
}

function addProductRow(result, left, right, i, n) {
  for (let k = 0; k < n; ++k) {
    const factor = left[i * n + k];
    if (factor === 0) continue;
    for (let j = 0; j < n; ++j) result[i * n + j] += factor * right[k * n + j];
  }
}

// Attention rollout through each layer, in small steps that yield the share done: it is cubic in
// the tokens, and the page stays alive meanwhile. Source: Abnar and Zuidema, 2020,
// arXiv:2005.00928, section 3.
function* rolloutSteps(view) {
  const n = view.rows;
  const through = [];
  for (let layer = 0; layer < view.layers; ++layer) {
    const mixed = withResidual(view, layer);
    let result = mixed;
    if (layer > 0) {
      result = new Float64Array(n * n);
      for (let i = 0; i < n; ++i) {
        addProductRow(result, mixed, through[layer - 1].values, i, n);
        yield (layer + i / n) / view.layers;
      }
    }
    through.push(matrixOf(view, result, 1));
  }
  return through;
}

const rollouts = new WeakMap();  // of views: what is done, or the steps still to do

function startedRollout(view) {
  if (!rollouts.has(view)) rollouts.set(view, { steps: rolloutSteps(view), share: 0, done: null });
  return rollouts.get(view);
}

// Goes on until it is done or the time is over.
function advanceRollout(view, milliseconds) {
  const rollout = startedRollout(view);
  const end = performance.now() + milliseconds;
  while (!rollout.done && performance.now() < end) {
    const { value, done } = rollout.steps.next();
    if (done) rollout.done = value;
    else rollout.share = value;
  }
  return rollout;
}

// The mean over a head's rows, in nats. Rows are divided by their sums, which 16 bits round; rows
// of zeros have no entropy.
function headEntropy(matrix) {
  let total = 0, counted = 0;
  for (let row = 0; row < matrix.rows; ++row) {
    let sum = 0, weighted = 0;
    for (let i = row * matrix.columns; i < (row + 1) * matrix.columns; ++i) {
      const value = matrix.values[i];
      if (value === 0) continue;
      sum += value;
      weighted += value * Math.log(value);
    }
    if (sum === 0) continue;
    total += Math.log(sum) - weighted / sum;
    ++counted;
  }
  return counted === 0 ? null : Math.max(total / counted, 0);
}

// [layer][head]: nats and percent of the largest possible; null where there is no such number.
const entropies = remembered((view) => range(view.layers).map(
    (layer) => range(view.heads).map((head) => {
      const nats = headEntropy(headMatrix(view, layer, head));
      const most = Math.log(view.columns);
      return { nats, percent: nats === null || most === 0 ? null : 100 * nats / most };
    })));
