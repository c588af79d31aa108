// ------------------------------------------------------------------------------------- Small tools

const byId = (id) => document.getElementById(id);

// Strings become text nodes: nothing on this page is ever parsed as markup.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    const isWord = name.startsWith("aria-");  // whose "false" is not the same as nothing
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true && !isWord) made.setAttribute(name, "");
    else if (value !== undefined && (value !== false || isWord)) made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

const range = (count) => Array.from({ length: count }, (_, i) => i);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const plural = (count, word) => `${grouped(count)} ${word}${count === 1 ? "" : "s"}`;
const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const signed = (value, digits) => value.toFixed(digits).replace("-", "\u2212");

// A token as it is shown: what has no shape of its own gets one.
function shownToken(token) {
  if (token === "") return "(empty)";
  if (/^ +$/.test(token)) return token.replace(/ /g, "\u2423");
  return token.replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
      .replace(/\u007f/g, "\u2421");
}

function tokenElement(token, tag = "bdi", attributes = {}) {
  return element(tag, { class: "token", dir: "auto", ...attributes }, shownToken(token));
}

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
