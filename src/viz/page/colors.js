// ----------------------------------------------------------------------------------------- Colours

// The stops of attend's viridis (src/viz/colormap.cpp): by S. van der Walt and N. Smith, CC0.
const STOPS = [
  "440154", "481769", "472a7a", "433d84", "3d4e8a", "355e8d", "2e6d8e", "297b8e", "23898e",
  "1f978b", "21a585", "2eb37c", "46c06f", "65cb5e", "89d548", "b0dd2f", "d8e219", "fde725",
].map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));

function viridis(fraction) {
  const position = clamp(fraction, 0, 1) * (STOPS.length - 1);
  const index = Math.min(Math.floor(position), STOPS.length - 2);
  const share = position - index;
  return STOPS[index].map((from, c) => Math.round(from + (STOPS[index + 1][c] - from) * share));
}

const css = (rgb) => `rgb(${rgb.join(" ")})`;

function luminance(rgb) {
  const [r, g, b] = rgb.map((channel) => {
    const c = channel / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// Black or white, by the contrast ratio of WCAG 2.1.
function readableOn(rgb) {
  const light = luminance(rgb);
  return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#ffffff" : "#000000";
}

const PALETTE_SIZE = 9;
const DASHES = [[], [7, 4], [2, 4]];
const DASH_CLASSES = ["", "dashed", "dotted"];

function headColor(head) {
  const name = `--head-${head % PALETTE_SIZE}`;
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
const dashOf = (head) => Math.min(Math.floor(head / PALETTE_SIZE), DASHES.length - 1);
const rgbOf = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
