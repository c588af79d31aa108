"""Opens the attention page in Chromium and compares what it shows with the data it was given.

usage: attention_page_test.py [unittest's arguments]

Needs the packages of requirements.txt beside this file, and Debian's chromium. Environment:
ATTEND_PAGE, the page that a build joined from src/viz/page (default: that of build/release);
ATTEND_CHROMIUM, the browser (default /usr/bin/chromium); ATTEND_PAGE_SHOTS, a folder to which
pictures of all tabs are written.
"""

import array
import base64
import copy
import functools
import html
import json
import math
import os
import pathlib
import random
import sys
import tempfile
import unittest

from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[3]
TEMPLATE = pathlib.Path(os.environ.get("ATTEND_PAGE", ROOT / "build/release/src/viz/attention_page.html"))
CHROMIUM = os.environ.get("ATTEND_CHROMIUM", "/usr/bin/chromium")
FULL = 65535

SOURCE = ["▁The", "▁black", "▁cat", "▁sat", "▁on", "▁the", "▁old", "▁mat", ".", "</s>"]
TARGET = ["▁Le", "▁chat", "▁noir", "▁était", "▁assis", "▁sur", "▁le", "▁vieux", "▁tapis", ".", "</s>"]
READ = ["<pad>"] + TARGET[:-1]
TABS = ["heads", "model", "matrix", "rollout", "entropy", "beams"]

# Tokens that are text, whatever they look like.
HOSTILE = [
    "<b>bold</b>", "&amp;", "\"quoted\" 'single'", "<img src=x onerror=\"window.hacked=1\">",
    "</script><script>window.hacked=1</script>", "{{TITLE}}", "▁Ünïcödé", "日本語の注意", "שלום", "مرحبا بالعالم",
    "a" * 300, "e\u0301", "👩‍👩‍👧", "${1}", "%3Cb%3E", "<!--", "a\ufffeb\uffff", "\ufdd0\U0010ffff", "\ufeffmark",
]


# ------------------------------------------------------------------------------------- Data to show

def softmax(logits):
    top = max(logits)
    exps = [math.exp(x - top) for x in logits]
    total = sum(exps)
    return [x / total for x in exps]


def random_head(rng, rows, columns, sharpness, causal=False):
    """The rows of a head as stored: numbers of 16 bits."""
    result = []
    for i in range(rows):
        seen = min(i + 1, columns) if causal else columns
        weights = softmax([rng.gauss(0, sharpness) for _ in range(seen)]) + [0.0] * (columns - seen)
        result.append([round(w * FULL) for w in weights])
    return result


def view_of(name, label, rows, columns, heads):
    """A view of the page from its numbers [layer][head][row][column]."""
    flat = array.array("H", (w for layer in heads for head in layer for row in head for w in row))
    if sys.byteorder == "big":
        flat.byteswap()
    return {"name": name, "label": label, "rows": rows, "columns": columns, "layers": len(heads),
            "heads": len(heads[0]), "weights": base64.b64encode(flat.tobytes()).decode()}


def random_view(rng, name, label, rows, columns, tokens, layers, heads, causal=False):
    numbers = [[random_head(rng, len(tokens[rows]), len(tokens[columns]), 0.5 + h * 0.6, causal)
                for h in range(heads)] for _ in range(layers)]
    return view_of(name, label, rows, columns, numbers), numbers


def random_beams(rng, steps=5, width=3, candidates=6):
    words = ["▁Le", "▁La", "▁chat", "▁chien", "▁noir", "▁assis", "▁sur", "▁un", "."]
    kept, beams = [([], 0.0)], []
    for step in range(steps):
        grown = [(parent, tokens + [word], score - rng.expovariate(1.2))
                 for parent, (tokens, score) in enumerate(kept)
                 for word in rng.sample(words, candidates // len(kept) + (step == 0))]
        grown.sort(key=lambda one: -one[2])
        hypotheses, survivors = [], []
        for rank, (parent, tokens, score) in enumerate(grown):
            finished = step >= 2 and rank == 1
            if finished:
                tokens = tokens[:-1] + ["</s>"]
            keep = not finished and len(survivors) < width and step < steps - 1
            if keep:
                survivors.append((tokens, score))
            hypotheses.append({"tokens": tokens, "score": score, "parent": parent, "finished": finished,
                               "kept": keep})
        beams.append({"step": step + 1, "hypotheses": hypotheses})
        kept = survivors
    return beams


class Example:
    """Data of a translator, and the numbers that were put into it."""

    def __init__(self, layers=3, heads=4, source=SOURCE, target=TARGET, seed=7):
        rng = random.Random(seed)
        tokens = {"source": source, "target": target, "target read": ["<pad>"] + target[:-1]}
        self.numbers, views = {}, []
        for name, label, rows, columns, causal in (
                ("encoder", "Encoder self-attention", "source", "source", False),
                ("decoder", "Decoder self-attention", "target read", "target read", True),
                ("cross", "Cross-attention", "target", "source", False)):
            view, self.numbers[name] = random_view(rng, name, label, rows, columns, tokens, layers, heads, causal)
            views.append(view)
        self.data = {"format": "attend attention 1", "title": "The black cat sat on the old mat.", "model": "marian",
                     "tokens": tokens, "views": views, "beams": random_beams(rng)}

    def weight(self, view, layer, head, row, column):
        heads = self.numbers[view][layer]
        if head == "mean":
            return sum(one[row][column] for one in heads) / len(heads) / FULL
        return heads[head][row][column] / FULL

    def matrix(self, view, layer, head):
        rows, columns = len(self.numbers[view][0][0]), len(self.numbers[view][0][0][0])
        return [[self.weight(view, layer, head, i, j) for j in range(columns)] for i in range(rows)]

    def size(self, view):
        numbers = self.numbers[view]
        return len(numbers), len(numbers[0]), len(numbers[0][0]), len(numbers[0][0][0])


def page_text(data, title="a title"):
    """What C++ makes of the template."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    template = TEMPLATE.read_text(encoding="utf-8")
    return template.replace("{{TITLE}}", html.escape(title), 1).replace("{{ATTENTION_DATA}}", text, 1)


# --------------------------------------------------------------------------- What is expected of it

@functools.lru_cache(maxsize=1)
def stops():
    """The colours of attend's own map, from its source."""
    source = (ROOT / "src/viz/colormap.cpp").read_text()
    table = source[source.index("kStops"):source.index("});")]
    rows = [line.strip() for line in table.splitlines() if line.strip().startswith("{0x")]
    return [[int(part.strip("{ }"), 16) for part in row.rstrip(",").split(",")] for row in rows]


def viridis(fraction):
    position = min(max(fraction, 0.0), 1.0) * (len(stops()) - 1)
    index = min(int(position), len(stops()) - 2)
    share = position - index
    return [a + (b - a) * share for a, b in zip(stops()[index], stops()[index + 1])]


def rollout_of(example, view, through):
    layers, _, n, _ = example.size(view)
    result = [[float(i == j) for j in range(n)] for i in range(n)]
    for layer in range(through + 1):
        mean = example.matrix(view, layer, "mean")
        mixed = [[0.5 * mean[i][j] + 0.5 * (i == j) for j in range(n)] for i in range(n)]
        mixed = [[w / sum(row) for w in row] for row in mixed]
        result = [[sum(mixed[i][k] * result[k][j] for k in range(n)) for j in range(n)] for i in range(n)]
    return result


def entropy_of(rows):
    """In nats, the mean over the rows that do not sum to 0."""
    found = []
    for row in rows:
        total = sum(row)
        if total > 0:
            found.append(-sum(w / total * math.log(w / total) for w in row if w > 0))
    return sum(found) / len(found) if found else None


def signed(value, digits):
    return f"{value:.{digits}f}".replace("-", "\u2212")


# A copy is read, since the browser would complain of many readings of a canvas that is drawn.
PIXELS = """canvas => {
  const {width, height} = canvas;
  const copy = new OffscreenCanvas(width, height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  return {width, height, data: [...copy.getImageData(0, 0, width, height).data]};
}"""

# Every visible text whose contrast is under what WCAG 2.1 AA asks for, and how many were looked at.
CONTRAST = """() => {
  const one = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (css) => {
    one.clearRect(0, 0, 1, 1);
    one.fillStyle = css;
    one.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = one.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      layers.push(rgba(getComputedStyle(at).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (c) => {
    const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const low = [];
  let seen = 0;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !node.checkVisibility()) continue;
    // Disabled controls need no contrast; numbers in cells lie on a canvas and have their own test.
    if (node.closest('script, style, fieldset:disabled, button:disabled, .visually-hidden, .heatmap-numbers')) continue;
    const style = getComputedStyle(node);
    const grounds = [ground(node)];
    const row = node.closest('.token-row:not(.active)');
    if (row && row.style.getPropertyValue('--share') > 0) {
      grounds.push(rgba(getComputedStyle(row, '::before').backgroundColor));
    }
    const size = parseFloat(style.fontSize), bold = style.fontWeight >= 700;
    const needed = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    for (const below of grounds) {
      ++seen;
      const found = ratio(over(rgba(style.color), below), below);
      if (found < needed) {
        low.push(`${texts.currentNode.data.trim().slice(0, 30)}: ${found.toFixed(2)} (${style.color} on ${below})`);
      }
    }
  }
  return {low, seen};
}"""


@functools.lru_cache(maxsize=1)
def browser():
    """One browser, and one process of it for all pages: to start them takes longer than most tests."""
    playwright = sync_playwright().start()
    unittest.addModuleCleanup(playwright.stop)
    result = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--process-per-site"])
    unittest.addModuleCleanup(result.close)
    return result


class PageTest(unittest.TestCase):
    """Opens pages, and fails where one writes to the console or asks for anything but itself."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.browser = browser()
        cls.contexts = {}
        cls.example = Example()

    def setUp(self):
        self.messages, self.requests, self.files = [], [], set()

    def tearDown(self):
        self.assertEqual(self.messages, [])
        self.assertEqual(set(self.requests), self.files)

    def open(self, data=None, hash="", title="a title", **options):
        path = pathlib.Path(self.folder.name) / f"page{len(os.listdir(self.folder.name))}.html"
        path.write_text(page_text(self.example.data if data is None else data, title), encoding="utf-8")
        self.files.add(path.as_uri())
        key = json.dumps(options, sort_keys=True)
        if key not in self.contexts:
            context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
            self.addClassCleanup(context.close)
            self.contexts[key] = context
        page = self.contexts[key].new_page()
        self.addCleanup(page.close)
        page.on("request", lambda request: self.requests.append(request.url.split("#")[0]))
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.set_default_timeout(60_000)  # a machine that others use too
        page.goto(path.as_uri() + hash)
        return page

    def state(self, page):
        return page.evaluate("attendPage.state()")

    def wait_for_hash(self, page, *parts):
        for part in parts:
            page.wait_for_function("part => location.hash.slice(1).split('&').includes(part)", arg=part)

    def visible_panels(self, page):
        return page.eval_on_selector_all("[role=tabpanel]",
                                         "all => all.filter(p => p.checkVisibility()).map(p => p.id)")

    def colors(self, page, selector, name="backgroundColor"):
        return page.eval_on_selector_all(
            selector, "(all, name) => all.map(e => getComputedStyle(e)[name].match(/\\d+/g).map(Number))", name)

    def assert_shows(self, page, tab):
        self.assertEqual(self.state(page)["tab"], tab)
        self.assertEqual(self.visible_panels(page), [f"panel-{tab}"])
        selected = page.eval_on_selector_all("[role=tab][aria-selected=true]", "all => all.map(t => t.id)")
        self.assertEqual(selected, [f"tab-{tab}"])
        # A tab that is there but drew nothing would be no view.
        self.assertGreater(page.evaluate("id => document.getElementById(id).childElementCount", f"panel-{tab}"), 0)

    def assert_painted(self, pixels, matrix, top):
        """One pixel a cell, each in the colour of its value."""
        rows, columns = len(matrix), len(matrix[0])
        self.assertEqual((pixels["height"], pixels["width"]), (rows, columns))
        for i in range(rows):
            for j in range(columns):
                at = 4 * (i * columns + j)
                expected = viridis(matrix[i][j] / top)
                for got, want in zip(pixels["data"][at:at + 3], expected):
                    self.assertAlmostEqual(got, want, delta=1.01, msg=f"cell {i}, {j}")
                self.assertEqual(pixels["data"][at + 3], 255)

    def screen_pixel(self, page, x, y):
        """The colour that is seen at a place of the window, as a person would."""
        shot = base64.b64encode(page.screenshot(clip={"x": x, "y": y, "width": 1, "height": 1})).decode()
        if not hasattr(self, "reader"):
            self.reader = self.browser.new_page()
            self.addCleanup(self.reader.close)
        return self.reader.evaluate("""async shot => {
          const image = new Image();
          image.src = 'data:image/png;base64,' + shot;
          await image.decode();
          const context = document.createElement('canvas').getContext('2d');
          context.drawImage(image, 0, 0);
          return [...context.getImageData(0, 0, 1, 1).data];
        }""", shot)


def largest(matrix):
    return max(max(row) for row in matrix)


# -------------------------------------------------------------------------------------------- Tests

class TemplateTest(unittest.TestCase):
    def test_can_be_filled_in_and_embedded(self):
        text = TEMPLATE.read_text(encoding="utf-8")
        self.assertEqual(text.count("{{TITLE}}"), 1)
        self.assertEqual(text.count("{{ATTENTION_DATA}}"), 1)
        self.assertEqual(text.count("{{"), 2)
        self.assertIn('<script type="application/json" id="attention-data">{{ATTENTION_DATA}}</script>', text)
        self.assertIn("<title>{{TITLE}}</title>", text)
        self.assertNotIn(')attend_page"', text)
        for outside in ("http:", "https:", "src=", "@import", "url("):
            self.assertNotIn(outside, text)


class NavigationTest(PageTest):
    def test_tabs_by_mouse(self):
        page = self.open()
        self.assert_shows(page, "heads")
        for tab in TABS[1:] + TABS[:1]:
            page.locator(f"#tab-{tab}").click()
            self.assert_shows(page, tab)
            self.wait_for_hash(page, f"tab={tab}")

    def test_tabs_by_keyboard(self):
        page = self.open()
        for number, tab in reversed(list(enumerate(TABS, 1))):
            page.keyboard.press(str(number))
            self.assert_shows(page, tab)
        # The tab key: help, the choice of attention, then the tabs as one stop.
        for _ in range(3):
            page.keyboard.press("Tab")
        focused = "document.activeElement.id"
        self.assertEqual(page.evaluate(focused), "tab-heads")
        outline = "(style => style.outlineStyle + style.outlineWidth)(getComputedStyle(document.activeElement))"
        for key, tab in [("ArrowRight", t) for t in TABS[1:]] + [("ArrowRight", "heads"), ("ArrowLeft", "beams"),
                                                                 ("Home", "heads"), ("End", "beams")]:
            page.keyboard.press(key)
            self.assert_shows(page, tab)
            self.assertEqual(page.evaluate(focused), f"tab-{tab}")
            self.assertEqual(page.evaluate(outline), "solid2px")
        stops_of_tabs = page.eval_on_selector_all("[role=tab]", "all => all.filter(t => t.tabIndex === 0).length")
        self.assertEqual(stops_of_tabs, 1)

    def test_attention_by_mouse_and_keyboard(self):
        page = self.open(hash="#tab=matrix")
        # Each has other tokens on its axes.
        expected = {"encoder": (SOURCE, SOURCE), "decoder": (READ, READ), "cross": (TARGET, SOURCE)}

        def check(view):
            self.assertEqual(self.state(page)["view"], view)
            self.assertTrue(page.locator(f"input[value={view}]").is_checked())
            for box, tokens in zip((".heatmap-rows", ".heatmap-columns"), expected[view]):
                labels = page.locator(f"#panel-matrix {box} .heatmap-label").all_text_contents()
                self.assertEqual(labels, tokens)

        check("encoder")
        for label, view in (("Cross-attention", "cross"), ("Decoder self-attention", "decoder"),
                            ("Encoder self-attention", "encoder")):
            page.locator("#view-options label").filter(has_text=label).click()
            check(view)
        page.locator("#tab-matrix").focus()
        for key, view in (("v", "decoder"), ("v", "cross"), ("v", "encoder"), ("V", "cross")):
            page.keyboard.press(key)
            check(view)
        page.locator("input[value=cross]").focus()
        page.keyboard.press("ArrowUp")
        check("decoder")
        self.wait_for_hash(page, "view=decoder")

    def test_layers_and_heads_by_keyboard_and_choosers(self):
        page = self.open(hash="#tab=matrix&view=cross")
        layers, heads, _, _ = self.example.size("cross")
        for expected in [*range(1, layers), 0]:
            page.keyboard.press("l")
            self.assertEqual(self.state(page)["layer"], expected)
        for expected in [*range(1, heads), "mean", 0]:
            page.keyboard.press("h")
            self.assertEqual(self.state(page)["head"], expected)
        page.keyboard.press("H")
        page.keyboard.press("L")
        self.assertEqual((self.state(page)["head"], self.state(page)["layer"]), ("mean", layers - 1))
        page.get_by_role("combobox", name="Layer").select_option("1")
        page.get_by_role("combobox", name="Head").focus()
        for _ in range(2):
            page.keyboard.press("ArrowUp")  # from the mean, which is the last
        self.assertEqual((self.state(page)["head"], self.state(page)["layer"]), (2, 1))
        # The focus stays in the chooser, though the bar was made anew.
        self.assertEqual(page.evaluate("document.activeElement.value"), "2")
        self.wait_for_hash(page, "head=2", "layer=1")

    def test_address_reopens_the_same_view(self):
        page = self.open()
        page.keyboard.press("v")
        page.keyboard.press("l")
        page.locator(".swatch[data-head='2']").click()
        page.keyboard.press("s")
        page.keyboard.press("3")
        page.keyboard.press("h")
        page.keyboard.press("+")
        page.keyboard.press("6")
        page.keyboard.press("ArrowRight")
        self.wait_for_hash(page, "tab=beams", "step=1", "view=decoder")
        before = self.state(page)
        self.assertEqual(before["heads"], [0, 1, 3])
        self.assertEqual((before["layer"], before["head"], before["scale"]), (1, 1, "one"))
        self.assertGreater(before["cell"], 0)
        again = self.open(hash=page.evaluate("location.hash"))
        self.assertEqual(self.state(again), before)

    def test_back_returns_to_the_tab_before(self):
        page = self.open()
        page.locator("#tab-matrix").click()
        self.wait_for_hash(page, "tab=matrix")
        page.keyboard.press("l")
        self.wait_for_hash(page, "layer=1")
        page.locator("#tab-entropy").click()
        self.wait_for_hash(page, "tab=entropy")
        page.go_back()
        page.wait_for_function("() => attendPage.state().tab === 'matrix'")
        self.assert_shows(page, "matrix")
        self.assertEqual(self.state(page)["layer"], 1)

    def test_address_that_does_not_fit_is_taken_as_far_as_it_does(self):
        page = self.open(hash="#tab=nothing&view=cross&layer=99&head=-1&heads=0,77&step=1000&cell=1&scale=<b>"
                              "&x=%E0%A4%A")
        state = self.state(page)
        self.assertEqual(state, {**state, "tab": "heads", "view": "cross", "layer": 0, "head": 0, "heads": None,
                                 "step": 0, "cell": 0, "scale": "largest"})

    def test_help(self):
        page = self.open()
        dialog = page.locator("#help")
        self.assertFalse(dialog.is_visible())
        page.keyboard.press("?")
        self.assertTrue(dialog.is_visible())
        for word in ("queries", "columns are keys", "sum to 1", "the tabs", "next or previous layer"):
            self.assertIn(word, dialog.inner_text().replace("\n", " "))
        page.keyboard.press("3")
        self.assert_shows(page, "heads")  # keys steer nothing behind the help
        page.keyboard.press("Escape")
        self.assertFalse(dialog.is_visible())
        page.locator("#help-button").click()
        page.get_by_label("Single keys steer the page").uncheck()
        page.locator("#help-close").click()
        page.keyboard.press("3")
        self.assert_shows(page, "heads")
        self.wait_for_hash(page, "keys=no")
        page.locator("#tab-heads").focus()
        page.keyboard.press("ArrowRight")
        self.assert_shows(page, "model")  # arrows are no single keys


class MatrixTest(PageTest):
    CELLS = "#panel-matrix .heatmap-cells"

    def hover_cell(self, page, row, column, cells=None):
        box = page.locator(cells or self.CELLS).bounding_box()
        rows, columns = page.locator(f"{cells or self.CELLS} canvas").evaluate("c => [c.height, c.width]")
        page.mouse.move(box["x"] + (column + 0.5) * box["width"] / columns,
                        box["y"] + (row + 0.5) * box["height"] / rows)

    def tooltip(self, page):
        return {part: page.locator(f"#tooltip [data-part={part}]").text_content()
                for part in ("row", "column", "value")}

    def test_hover_tells_the_value_of_every_cell(self):
        for layer, head in ((1, 2), (2, "mean")):
            page = self.open(hash=f"#tab=matrix&view=cross&layer={layer}&head={head}")
            for row in range(len(TARGET)):
                for column in range(len(SOURCE)):
                    self.hover_cell(page, row, column)
                    expected = self.example.weight("cross", layer, head, row, column)
                    self.assertEqual(self.tooltip(page), {"row": TARGET[row], "column": SOURCE[column],
                                                          "value": f"{expected:.4f}"})
                    active = page.locator("#panel-matrix .heatmap-label.active").all_text_contents()
                    self.assertEqual(active, [SOURCE[column], TARGET[row]])
            page.mouse.move(1, 1)
            self.assertFalse(page.locator("#tooltip").is_visible())

    def test_colours_are_those_of_the_values(self):
        for view, layer, head in (("encoder", 0, 0), ("decoder", 2, 3), ("cross", 1, "mean")):
            for scale in ("largest", "one"):
                page = self.open(hash=f"#tab=matrix&view={view}&layer={layer}&head={head}&scale={scale}")
                matrix = self.example.matrix(view, layer, head)
                top = 1 if scale == "one" else largest(matrix)
                self.assert_painted(page.locator(f"{self.CELLS} canvas").evaluate(PIXELS), matrix, top)
                ticks = page.locator("#panel-matrix .color-bar-ticks span").all_text_contents()
                self.assertEqual(ticks, [f"{top:.4f}", f"{top / 2:.4f}", "0"])

    def test_cells_are_where_they_seem_to_be(self):
        page = self.open(hash="#tab=matrix&view=cross&layer=1&head=1&cell=20")  # too small for numbers
        matrix = self.example.matrix("cross", 1, 1)
        box = page.locator(self.CELLS).bounding_box()
        self.assertEqual((box["width"], box["height"]), (20 * len(SOURCE), 20 * len(TARGET)))
        for row, column in ((0, 0), (3, 7), (10, 9), (10, 0), (5, 5)):
            seen = self.screen_pixel(page, box["x"] + 20 * column + 10, box["y"] + 20 * row + 10)
            for got, want in zip(seen, viridis(matrix[row][column] / largest(matrix))):
                self.assertAlmostEqual(got, want, delta=2)
            label = page.locator("#panel-matrix .heatmap-rows .heatmap-label").nth(row).bounding_box()
            self.assertAlmostEqual(label["y"], box["y"] + 20 * row, delta=0.5)
            label = page.locator("#panel-matrix .heatmap-columns .heatmap-label").nth(column).bounding_box()
            self.assertAlmostEqual(label["x"], box["x"] + 20 * column, delta=0.5)

    def test_numbers_in_the_cells(self):
        page = self.open(hash="#tab=matrix&view=cross&layer=2&head=1&cell=44")
        matrix = self.example.matrix("cross", 2, 1)
        numbers = page.locator("#panel-matrix .heatmap-numbers span")
        self.assertEqual(numbers.all_text_contents(), [f"{w:.2f}" for row in matrix for w in row])
        colors = numbers.evaluate_all("all => all.map(n => getComputedStyle(n).color.match(/\\d+/g).map(Number))")
        for color, weight in zip(colors, (w for row in matrix for w in row)):
            self.assertGreaterEqual(contrast(color, viridis(weight / largest(matrix))), 4.5)

    def test_keyboard_walks_through_the_cells(self):
        page = self.open(hash="#tab=matrix&view=cross&layer=0&head=1")
        page.get_by_role("button", name="Fit").focus()
        page.keyboard.press("Tab")
        row = column = 0
        for key, down, right in (("", 0, 0), ("ArrowRight", 0, 1), ("ArrowDown", 1, 0), ("ArrowDown", 1, 0),
                                 ("ArrowLeft", 0, -1), ("ArrowLeft", 0, 0), ("ArrowUp", -1, 0),
                                 ("End", 0, len(SOURCE) - 1), ("Home", 0, -len(SOURCE))):
            if key:
                page.keyboard.press(key)
            row, column = row + down, max(column + right, 0)
            value = f"{self.example.weight('cross', 0, 1, row, column):.4f}"
            self.assertEqual(self.tooltip(page), {"row": TARGET[row], "column": SOURCE[column], "value": value})
            self.assertEqual(page.locator("#spoken").text_content(), f"{TARGET[row]} to {SOURCE[column]}: {value}")
        page.keyboard.press("h")  # the cursor stays, the value changes
        self.assertEqual(self.tooltip(page)["value"], f"{self.example.weight('cross', 0, 2, row, column):.4f}")

    def test_zoom(self):
        page = self.open(hash="#tab=matrix&view=cross&cell=16")
        width = lambda: page.locator(self.CELLS).bounding_box()["width"] / len(SOURCE)
        self.assertEqual(width(), 16)
        page.keyboard.press("+")
        self.assertEqual(width(), 20)
        page.get_by_role("button", name="Smaller cells").click()
        self.assertEqual(width(), 16)
        page.keyboard.press("0")
        self.assertGreater(width(), 30)  # so few cells have room

    def test_api_agrees_with_the_data(self):
        page = self.open()
        for view in ("encoder", "decoder", "cross"):
            layers, heads, rows, columns = self.example.size(view)
            got = page.evaluate("""([view, layers, heads, rows, columns]) => {
              const all = [];
              for (let l = 0; l < layers; ++l) for (let h = 0; h < heads; ++h)
                for (let i = 0; i < rows; ++i) for (let j = 0; j < columns; ++j)
                  all.push(attendPage.weight(view, l, h, i, j));
              return all;
            }""", [view, layers, heads, rows, columns])
            expected = [w / FULL for layer in self.example.numbers[view] for head in layer for row in head for w in row]
            self.assertEqual(got, expected)
        refused = "at => { try { attendPage.weight(...at); return ''; } catch (error) { return error.name; } }"
        for at in (["cross", 3, 0, 0, 0], ["cross", 0, 4, 0, 0], ["cross", 0, 0, -1, 0], ["nothing", 0, 0, 0, 0]):
            self.assertEqual(page.evaluate(refused, at), "RangeError")


def contrast(a, b):
    def light(color):
        linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    low, high = sorted((light(a), light(b)))
    return (high + 0.05) / (low + 0.05)


DIAGONAL = [0.1, 0.25, 0.4, 0.6, 0.8, 1.0]


def diagonal(heads=1):
    """Six tokens, each with one weight on itself: lines that nothing crosses."""
    numbers = [[[[round(w * FULL) if i == j else 0 for j in range(6)] for i, w in enumerate(DIAGONAL)]
                for _ in range(heads)]]
    return {"format": "attend attention 1", "title": "six", "model": "gpt2", "tokens": {"source": list("abcdef")},
            "views": [view_of("self", "Self-attention", "source", "source", numbers)]}


class HeadsTest(PageTest):
    ALL, ALONE = ".tiles.all canvas", ".tiles.alone canvas"

    def ink(self, page, canvas, share, y, reach=8):
        """The sum of the alphas around a height of the first tile, the largest, and its colour."""
        return page.locator(canvas).first.evaluate("""(canvas, [share, y, reach]) => {
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
          copy.drawImage(canvas, 0, 0);
          const data = copy.getImageData(Math.floor(canvas.width * share), y - reach, 1, 2 * reach).data;
          let sum = 0, best = 0;
          for (let i = 3; i < data.length; i += 4) {
            sum += data[i] / 255;
            if (data[i] > data[best + 3]) best = i - 3;
          }
          return [sum, data[best + 3] / 255, [...data.slice(best, best + 3)]];
        }""", [share, y, reach])

    def test_lines_have_the_strength_of_their_weights(self):
        page = self.open(diagonal(), hash="#scale=one")
        for row, weight in enumerate(DIAGONAL):
            sum_of_alphas, strongest, color = self.ink(page, self.ALL, 0.5, 24 * row + 12)
            # The browser draws the width of a level line in quarters of a pixel.
            self.assertAlmostEqual(strongest, weight * min(1, (1 + 2 * weight) / 2), delta=0.13 * weight + 0.01)
            self.assertAlmostEqual(sum_of_alphas, weight * (1 + 2 * weight), delta=0.25 * weight + 0.01)
            if weight >= 0.5:  # two rows of pixels that the line covers whole
                self.assertAlmostEqual(strongest, weight, delta=0.01)
            for got, want in zip(color, (0x33, 0x22, 0x88)):
                self.assertAlmostEqual(got, want, delta=1 + 0.7 / strongest)  # faint colours are stored coarsely
            # Between two tokens there is nothing.
            self.assertEqual(self.ink(page, self.ALL, 0.5, 24 * row + 24, reach=4)[0], 0)
        self.assertEqual(page.locator(".lines").get_attribute("data-lines"), "6")

    def test_strength_is_relative_to_the_largest_weight_shown(self):
        numbers = [[[[round(0.2 * FULL) if i == j else 0 for j in range(6)] for i in range(6)],
                    [[round(0.8 * FULL) if i == j else 0 for j in range(6)] for i in range(6)]]]
        data = diagonal()
        data["views"] = [view_of("self", "Self-attention", "source", "source", numbers)]
        page = self.open(data, hash="#heads=0")
        self.assertAlmostEqual(self.ink(page, self.ALL, 0.5, 12)[0], 3, delta=0.03)
        page.locator(".swatch[data-head='1']").click()  # now 0.2 is a quarter of the largest
        self.assertAlmostEqual(self.ink(page, self.ALL, 0.5, 12)[0], 0.25 * 1.5 + 3, delta=0.5)
        self.assertIn("up to 0.8000", page.locator("#panel-heads .note").text_content())

    def test_hover_shows_the_lines_of_a_token_alone(self):
        page = self.open(hash="#view=cross&layer=1&heads=2&scale=one")
        width = page.locator(self.ALL).evaluate("c => c.width")
        for side, count, others in (("queries", len(TARGET), SOURCE), ("keys", len(SOURCE), TARGET)):
            for index in range(count):
                page.locator(f".{side} .token-row").nth(index).hover()
                opposite = "keys" if side == "queries" else "queries"
                expected = [self.example.weight("cross", 1, 2, *((index, k) if side == "queries" else (k, index)))
                            for k in range(len(others))]
                texts = page.locator(f".{opposite} .token-weight").all_text_contents()
                self.assertEqual(texts, [f"{w:.4f}" for w in expected])
                self.assertEqual(page.locator(".token-row.active").count(), 1)
                self.assertEqual(page.locator(self.ALL).evaluate("c => getComputedStyle(c).visibility"), "hidden")
                # Close to the other side each line is apart from its neighbours.
                share = 0.97 if side == "queries" else 0.03
                across = (math.floor(width * share) + 0.5) / width
                near = across if side == "queries" else 1 - across
                for k, weight in enumerate(expected):
                    y = 12 + 24 * (index + (k - index) * near)
                    slope = math.hypot(1, 24 * (k - index) / width)
                    sum_of_alphas = self.ink(page, self.ALONE, share, round(y), reach=9)[0]
                    self.assertAlmostEqual(sum_of_alphas, weight * (1 + 2 * weight) * slope, delta=0.25 * weight + 0.03)
        page.mouse.move(1, 1)
        self.assertEqual(page.locator(self.ALL).evaluate("c => getComputedStyle(c).visibility"), "visible")
        self.assertEqual(page.locator(self.ALONE).evaluate("c => c.width"), 0)
        self.assertEqual(set(page.locator(".token-weight").all_text_contents()), {""})

    def test_several_heads_are_averaged_in_numbers_and_apart_in_lines(self):
        page = self.open(hash="#view=cross&heads=0,3")
        page.locator(".queries .token-row").nth(4).hover()
        expected = [(self.example.weight("cross", 0, 0, 4, k) + self.example.weight("cross", 0, 3, 4, k)) / 2
                    for k in range(len(SOURCE))]
        self.assertEqual(page.locator(".keys .token-weight").all_text_contents(), [f"{w:.4f}" for w in expected])
        page = self.open(diagonal(heads=2), hash="#scale=one")
        colors = page.locator(self.ALL).evaluate("""canvas => {
          const found = new Set();
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
          copy.drawImage(canvas, 0, 0);
          const data = copy.getImageData(Math.floor(canvas.width / 2), 5 * 24, 1, 24).data;
          for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) found.add([...data.slice(i, i + 3)].join());
          return [...found];
        }""")
        self.assertIn("51,34,136", colors)
        self.assertIn("204,102,119", colors)

    def test_swatches(self):
        page = self.open(hash="#view=cross")
        heads = lambda: self.state(page)["heads"]
        pressed = lambda: page.eval_on_selector_all(".swatch", "all => all.map(s => s.getAttribute('aria-pressed'))")
        drawn = lambda: int(page.locator(".lines").get_attribute("data-lines"))
        self.assertEqual(pressed(), ["true"] * 4)
        everything = drawn()
        page.locator(".swatch[data-head='1']").click()
        self.assertEqual((heads(), pressed()), ([0, 2, 3], ["true", "false", "true", "true"]))
        self.assertLess(drawn(), everything)
        page.wait_for_timeout(600)  # longer than a double click
        page.locator(".swatch[data-head='1']").click()
        self.assertEqual((heads(), drawn()), (None, everything))
        page.locator(".swatch[data-head='2']").dblclick()
        self.assertEqual(heads(), [2])
        page.get_by_role("button", name="All").click()
        self.assertIsNone(heads())
        page.locator(".swatch[data-head='3']").click(modifiers=["Shift"])
        self.assertEqual(heads(), [3])
        page.get_by_role("button", name="None").click()
        self.assertEqual((heads(), drawn()), ([], 0))
        self.assertIn("No head is on", page.locator("#panel-heads .note").text_content())
        page.locator(".swatch[data-head='0']").focus()
        page.keyboard.press("Space")
        self.assertEqual(heads(), [0])
        page.keyboard.press("Shift+Enter")
        self.assertEqual(heads(), [0])
        self.assertEqual(page.evaluate("document.activeElement.dataset.head"), "0")

    def test_keyboard_walks_through_the_tokens_and_pins(self):
        page = self.open(hash="#view=cross&heads=1")
        page.get_by_label("Strongest line").focus()
        active = lambda: page.eval_on_selector_all(
            ".token-row.active", "all => all.map(r => [r.parentElement.classList[1], Number(r.dataset.index)])")
        page.keyboard.press("Tab")
        self.assertEqual(active(), [["queries", 0]])
        for key, expected in (("ArrowDown", ["queries", 1]), ("End", ["queries", 10]), ("ArrowRight", ["keys", 9]),
                              ("ArrowUp", ["keys", 8]), ("Home", ["keys", 0]), ("ArrowLeft", ["queries", 0])):
            page.keyboard.press(key)
            self.assertEqual(active(), [expected])
        page.keyboard.press("Enter")
        page.evaluate("document.activeElement.blur()")
        self.assertEqual(active(), [["queries", 0]])
        self.assertEqual(page.locator("[role=option][aria-selected=true]").count(), 1)
        page.keyboard.press("l")  # the pinned token stays, with the weights of the next layer
        expected = [f"{self.example.weight('cross', 1, 1, 0, k):.4f}" for k in range(len(SOURCE))]
        self.assertEqual(page.locator(".keys .token-weight").all_text_contents(), expected)
        page.keyboard.press("Escape")
        self.assertEqual(active(), [])

    def test_more_heads_than_colours(self):
        numbers = [[[[FULL if i == j else 0 for j in range(3)] for i in range(3)] for _ in range(20)]]
        data = {"format": "attend attention 1", "title": "", "model": "", "tokens": {"source": list("abc")},
                "views": [view_of("self", "Self-attention", "source", "source", numbers)]}
        page = self.open(data)
        looks = page.eval_on_selector_all(
            ".swatch", "all => all.map(s => getComputedStyle(s).backgroundColor + s.className)")
        self.assertEqual(len(set(looks[:18])), 18)
        gaps = """canvas => {
          const copy = new OffscreenCanvas(canvas.width, 24).getContext('2d', {willReadFrequently: true});
          copy.drawImage(canvas, 0, 0);
          const data = copy.getImageData(0, 12, canvas.width, 1).data;
          return data.filter((value, i) => i % 4 === 3 && value === 0).length;
        }"""
        for head, dashed in ((0, False), (9, True), (18, True)):
            page.evaluate("head => location.hash = `heads=${head}`", head)
            page.wait_for_function("head => attendPage.state().heads?.join() === String(head)", arg=head)
            self.assertEqual(page.locator(self.ALL).evaluate(gaps) > 0, dashed)


class ModelTest(PageTest):
    def test_thumbnails_are_the_heads(self):
        for scale in ("largest", "one"):
            page = self.open(hash=f"#tab=model&view=cross&scale={scale}", viewport={"width": 1280, "height": 1600})
            page.wait_for_function("() => document.querySelectorAll('.thumbnail canvas[data-painted]').length === 12")
            for layer in range(3):
                for head in range(4):
                    canvas = page.locator(f".thumbnail canvas[data-layer='{layer}'][data-head='{head}']")
                    matrix = self.example.matrix("cross", layer, head)
                    self.assert_painted(canvas.evaluate(PIXELS), matrix, 1 if scale == "one" else largest(matrix))

    def test_thumbnails_are_painted_when_they_come_into_sight(self):
        page = self.open(Example(layers=12, heads=2, source=SOURCE[:4], target=TARGET[:4]).data, hash="#tab=model")
        page.wait_for_function("() => document.querySelectorAll('canvas[data-painted]').length > 0")
        painted = lambda: page.locator("canvas[data-painted]").count()
        self.assertLess(painted(), 24)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_function("() => document.querySelector('canvas[data-layer=\"11\"]').dataset.painted")

    def test_a_thumbnail_opens_its_matrix(self):
        page = self.open(hash="#tab=model&view=decoder")
        page.locator(".thumbnail[data-layer='1'][data-head='3']").click()
        self.assert_shows(page, "matrix")
        self.assertEqual((self.state(page)["layer"], self.state(page)["head"]), (1, 3))
        matrix = self.example.matrix("decoder", 1, 3)
        self.assert_painted(page.locator("#panel-matrix canvas").evaluate(PIXELS), matrix, largest(matrix))
        page.keyboard.press("2")
        page.locator("#panel-model").get_by_role("combobox", name="Colours").focus()
        page.keyboard.press("Tab")
        for key in ("ArrowDown", "ArrowLeft", "ArrowLeft"):
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        self.assert_shows(page, "matrix")
        self.assertEqual((self.state(page)["layer"], self.state(page)["head"]), (2, 1))


class RolloutTest(PageTest):
    def test_is_the_rollout(self):
        page = self.open(hash="#tab=rollout&view=decoder")
        for view in ("encoder", "decoder"):
            expected = rollout_of(self.example, view, 2)
            for got_row, row in zip(page.evaluate("view => attendPage.rollout(view)", view), expected):
                for got, want in zip(got_row, row):
                    self.assertAlmostEqual(got, want, delta=1e-12)
                self.assertAlmostEqual(sum(got_row), 1, delta=1e-12)
        expected = rollout_of(self.example, "decoder", 2)
        self.assert_painted(page.locator("#panel-rollout canvas").evaluate(PIXELS), expected, largest(expected))
        for row, column in ((0, 0), (9, 2), (10, 10), (4, 8)):
            MatrixTest.hover_cell(self, page, row, column, "#panel-rollout .heatmap-cells")
            self.assertEqual(MatrixTest.tooltip(self, page), {"row": READ[row], "column": READ[column],
                                                              "value": f"{expected[row][column]:.4f}"})

    def test_through_an_earlier_layer(self):
        page = self.open(hash="#tab=rollout")
        page.get_by_label("Through layer").select_option("1")
        expected = rollout_of(self.example, "encoder", 1)
        self.assert_painted(page.locator("#panel-rollout canvas").evaluate(PIXELS), expected, largest(expected))
        page.keyboard.press("Escape")
        page.locator("#tab-rollout").click()
        page.keyboard.press("L")
        expected = rollout_of(self.example, "encoder", 0)
        self.assert_painted(page.locator("#panel-rollout canvas").evaluate(PIXELS), expected, largest(expected))
        self.wait_for_hash(page, "through=0")

    def test_says_why_there_is_none_for_cross_attention(self):
        page = self.open(hash="#tab=rollout&view=cross")
        self.assertIsNone(page.evaluate("attendPage.rollout('cross')"))
        text = page.locator("#panel-rollout .empty").inner_text()
        self.assertIn("does not apply", text)
        self.assertIn("rows are target and the columns source", text)
        self.assertFalse(page.locator("#panel-rollout .heatmap").is_visible())
        page.locator("#panel-rollout").get_by_role("button", name="Decoder self-attention").click()
        self.assertEqual(self.state(page)["view"], "decoder")
        self.assertTrue(page.locator("#panel-rollout .heatmap").is_visible())

    def test_rows_of_zeros_keep_themselves(self):
        numbers = [[[[0, 0, 0], [FULL, 0, 0], [0, FULL, 0]]]]
        data = {"format": "attend attention 1", "title": "", "model": "", "tokens": {"source": list("abc")},
                "views": [view_of("self", "Self-attention", "source", "source", numbers)]}
        page = self.open(data, hash="#tab=rollout")
        self.assertEqual(page.evaluate("attendPage.rollout('self')"), [[1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]])

    def test_too_many_tokens_are_refused(self):
        count = 1100
        data = {"format": "attend attention 1", "title": "", "model": "", "tokens": {"source": ["x"] * count},
                "views": [view_of("self", "Self-attention", "source", "source", [[[[0] * count] * count]])]}
        page = self.open(data, hash="#tab=rollout")
        self.assertIn("not computed for more than 1\u202f024 tokens",
                      page.locator("#panel-rollout .empty").text_content())


class EntropyTest(PageTest):
    def test_numbers_and_colours(self):
        for view in ("encoder", "decoder", "cross"):
            page = self.open(hash=f"#tab=entropy&view={view}")
            layers, heads, _, columns = self.example.size(view)
            for layer in range(layers):
                for head in range(heads):
                    nats = entropy_of(self.example.numbers[view][layer][head])
                    percent = 100 * nats / math.log(columns)
                    got = page.evaluate("([view, l, h]) => attendPage.entropy(view)[l][h]", [view, layer, head])
                    self.assertAlmostEqual(got["nats"], nats, delta=1e-9)
                    self.assertAlmostEqual(got["percent"], percent, delta=1e-9)
                    cell = page.locator(f".entropy-cell[data-layer='{layer}'][data-head='{head}']")
                    self.assertEqual(cell.locator(".nats").text_content(), f"{nats:.3f}")
                    self.assertEqual(cell.locator(".percent").text_content(), f"{percent:.1f} %")
                    color = cell.evaluate("c => getComputedStyle(c).backgroundColor.match(/\\d+/g).map(Number)")
                    for got_channel, want in zip(color, viridis(percent / 100)):
                        self.assertAlmostEqual(got_channel, want, delta=1.01)

    def test_rows_of_zeros_are_left_out(self):
        half = FULL // 2
        numbers = [[[[0, 0, 0], [half, half, 0], [FULL, 0, 0]], [[0] * 3] * 3]]
        data = {"format": "attend attention 1", "title": "", "model": "", "tokens": {"source": list("abc")},
                "views": [view_of("self", "Self-attention", "source", "source", numbers)]}
        page = self.open(data, hash="#tab=entropy")
        self.assertAlmostEqual(page.evaluate("attendPage.entropy('self')[0][0].nats"), math.log(2) / 2, delta=1e-12)
        self.assertEqual(page.evaluate("attendPage.entropy('self')[0][1]"), {"nats": None, "percent": None})
        self.assertEqual(page.locator(".entropy-cell .nats").all_text_contents(), ["0.347", "\u2013"])

    def test_a_cell_opens_its_matrix(self):
        page = self.open(hash="#tab=entropy&view=cross")
        page.locator(".entropy-cell[data-layer='2'][data-head='1']").click()
        self.assert_shows(page, "matrix")
        self.assertEqual((self.state(page)["layer"], self.state(page)["head"]), (2, 1))


class BeamsTest(PageTest):
    def check_step(self, page, step):
        hypotheses = self.example.data["beams"][step]["hypotheses"]
        cards = page.locator(".hypothesis")
        self.assertEqual(cards.count(), len(hypotheses))
        for rank, hypothesis in enumerate(hypotheses):
            card = cards.nth(rank)
            fate = "finished" if hypothesis["finished"] else "kept" if hypothesis["kept"] else "dropped"
            self.assertIn(fate, card.locator(".fate").text_content())
            self.assertEqual(card.locator(".score").text_content(), f"score {signed(hypothesis['score'], 4)}")
            self.assertEqual(card.locator(".token").all_text_contents(), hypothesis["tokens"])
            self.assertEqual(card.locator(".new").all_text_contents(), hypothesis["tokens"][-1:])
            expected = "begins the search"
            if step > 0:
                before = self.example.data["beams"][step - 1]["hypotheses"]
                kept = [r for r, one in enumerate(before) if one["kept"]]
                expected = f"continues #{kept[hypothesis['parent']] + 1} of step {step}"
            self.assertEqual(card.locator(".from").text_content(), expected)

    def test_steps_by_keyboard_and_mouse(self):
        page = self.open(hash="#tab=heads")
        page.locator("#tab-beams").click()
        steps = len(self.example.data["beams"])
        for step in range(steps):
            self.assertEqual(self.state(page)["step"], step)
            self.check_step(page, step)
            page.keyboard.press("ArrowRight")
        self.assertEqual(self.state(page)["step"], steps - 1)  # no step after the last
        page.keyboard.press("ArrowLeft")
        self.assertEqual(self.state(page)["step"], steps - 2)
        page.get_by_role("button", name="Step on").click()
        self.assertEqual(self.state(page)["step"], steps - 1)
        self.assertTrue(page.get_by_role("button", name="Step on").is_disabled())
        page.get_by_role("button", name="Step back").click()
        page.get_by_label("Step", exact=True).focus()
        page.keyboard.press("Home")
        self.assertEqual(self.state(page)["step"], 0)
        self.check_step(page, 0)

    def test_links_join_hypotheses_with_their_parents(self):
        page = self.open(hash="#tab=beams")
        places = page.evaluate("""() => [...document.querySelectorAll('.beam-node')].map(n =>
            [n.querySelector('.token').textContent, n.offsetLeft, n.offsetTop, n.offsetWidth, n.offsetHeight])""")
        paths = page.eval_on_selector_all(
            ".beam-canvas path", "all => all.map(p => p.getAttribute('d').match(/[\\d.]+/g).map(Number))")
        beams = self.example.data["beams"]
        expected, at = [], 0
        before = []
        for step, beam in enumerate(beams):
            nodes = places[at:at + len(beam["hypotheses"])]
            at += len(nodes)
            kept = [place for place, one in zip(before, beams[step - 1]["hypotheses"]) if one["kept"]]
            for (text, x, y, _, height), hypothesis in zip(nodes, beam["hypotheses"]):
                self.assertEqual(text, hypothesis["tokens"][-1])
                if step > 0:
                    _, px, py, pwidth, pheight = kept[hypothesis["parent"]]
                    expected.append([px + pwidth, py + pheight / 2, x, y + height / 2])
            before = nodes
        self.assertEqual(at, len(places))
        self.assertEqual([[path[0], path[1], path[-2], path[-1]] for path in paths], expected)

    def test_the_way_of_a_hypothesis_is_marked(self):
        page = self.open(hash="#tab=beams&step=3")
        beams = self.example.data["beams"]
        rank = next(r for r, one in enumerate(beams[3]["hypotheses"]) if one["finished"])
        page.locator(".hypothesis").nth(rank).hover()
        marked = page.locator(".beam-node.on-path .token").all_text_contents()
        self.assertEqual(marked, beams[3]["hypotheses"][rank]["tokens"])
        page.locator("#title").hover()
        self.assertEqual(page.locator(".beam-node.on-path").count(), 0)

    def test_nodes_by_keyboard(self):
        page = self.open(hash="#tab=beams&step=2")
        page.get_by_label("Show dropped hypotheses").focus()
        page.keyboard.press("Tab")
        focused = lambda: page.evaluate("document.activeElement.getAttribute('aria-label')")
        self.assertIn("Step 3", focused())
        page.keyboard.press("ArrowDown")
        hypotheses = self.example.data["beams"][2]["hypotheses"]
        self.assertIn(signed(hypotheses[1]["score"], 4), focused())
        page.keyboard.press("ArrowLeft")  # to its parent
        before = self.example.data["beams"][1]["hypotheses"]
        parent = [one for one in before if one["kept"]][hypotheses[1]["parent"]]
        self.assertIn(signed(parent["score"], 4), focused())
        self.assertEqual(self.state(page)["step"], 1)
        page.keyboard.press("ArrowRight")
        self.assertEqual(self.state(page)["step"], 2)
        self.assertEqual(page.locator(".beam-node.on-path").count(), 3)

    def test_many_dropped_hypotheses_are_folded_away(self):
        data = copy.deepcopy(self.example.data)
        dropped = {"tokens": ["x"], "score": -9.0, "parent": 0, "finished": False, "kept": False}
        data["beams"][0]["hypotheses"] += [dropped] * 20
        page = self.open(data, hash="#tab=beams")
        dropped = sum(not one["kept"] and not one["finished"] for one in data["beams"][0]["hypotheses"])
        shown = len(data["beams"][0]["hypotheses"]) - dropped
        self.assertEqual(page.locator(".hypothesis").count(), shown)
        self.assertIn(f"{dropped} dropped", page.locator("#panel-beams h2").text_content())
        page.get_by_label("Show dropped hypotheses").check()
        self.assertEqual(page.locator(".hypothesis").count(), shown + dropped)
        self.wait_for_hash(page, "dropped=yes")


class LooksTest(PageTest):
    def prepare(self, page, tab):
        """Shows also what hovering shows."""
        if tab == "heads":
            page.locator(".queries .token-row").nth(2).hover()
        if tab in ("matrix", "rollout"):
            page.locator(f"#panel-{tab} .heatmap-cells").hover(position={"x": 50, "y": 50})
        if tab == "beams":
            page.keyboard.press("ArrowRight")
            page.locator(".hypothesis").first.hover()

    def test_text_has_contrast_in_light_and_dark(self):
        lightness = {}
        for scheme in ("light", "dark"):
            for tab in TABS:
                page = self.open(hash=f"#tab={tab}", color_scheme=scheme, reduced_motion="reduce")
                self.prepare(page, tab)
                found = page.evaluate(CONTRAST)
                self.assertEqual(found["low"], [], f"{scheme}, {tab}")
                self.assertGreater(found["seen"], 20)
            page.keyboard.press("?")
            found = page.evaluate(CONTRAST)
            self.assertEqual(found["low"], [], f"{scheme}, help")
            lightness[scheme] = sum(self.colors(page, "body")[0])
            page = self.open("{}", color_scheme=scheme)
            self.assertEqual(page.evaluate(CONTRAST)["low"], [])
        self.assertGreater(lightness["light"], 600)
        self.assertLess(lightness["dark"], 120)

    def test_heads_have_contrast_to_the_ground(self):
        for scheme in ("light", "dark"):
            page = self.open(Example(layers=1, heads=9, source=SOURCE[:3], target=TARGET[:3]).data, color_scheme=scheme)
            colors = self.colors(page, ".swatch")
            paper = self.colors(page, ".head-view")[0]
            self.assertEqual(len({tuple(color) for color in colors}), 9)
            for color in colors:
                self.assertGreaterEqual(contrast(color, paper), 1.4)
            for color in colors[:5]:  # those that most models have
                self.assertGreaterEqual(contrast(color, paper), 3)

    def test_a_change_of_scheme_draws_anew(self):
        page = self.open(diagonal(), color_scheme="light")
        strongest = lambda: HeadsTest.ink(self, page, HeadsTest.ALL, 0.5, 24 * 5 + 12)[2]
        self.assertEqual(strongest(), [0x33, 0x22, 0x88])
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("() => document.querySelector('.swatch').style.cssText.includes('#77aadd')")
        self.assertEqual(strongest(), [0x77, 0xAA, 0xDD])

    def test_nothing_moves_where_that_is_asked_for(self):
        for motion, expected in (("reduce", {"0s"}), ("no-preference", {"0.12s"})):
            page = self.open(reduced_motion=motion)
            times = page.eval_on_selector_all(
                ".tab, .swatch, .button", "all => all.flatMap(e => getComputedStyle(e).transitionDuration.split(', '))")
            self.assertEqual(set(times), expected)

    def test_narrow_windows(self):
        for data in (self.example.data, Example(heads=8, source=HOSTILE, target=HOSTILE).data):
            for tab in TABS:
                page = self.open(data, hash=f"#tab={tab}&view=cross", viewport={"width": 360, "height": 740})
                self.assertEqual(page.evaluate("document.documentElement.scrollWidth"), 360, tab)
                outside = page.evaluate("""() =>
                    [...document.querySelectorAll('button, select, input[type=range], h1, .note')]
                    .filter(e => e.checkVisibility() && !e.closest('.heatmap, .by-head, .beam-tree'))
                    .filter(e => e.getBoundingClientRect().right > 361 || e.getBoundingClientRect().left < -1)
                    .map(e => e.outerHTML.slice(0, 80))""")
                self.assertEqual(outside, [], tab)
                small = page.evaluate("""() => [...document.querySelectorAll('.page *')]
                    .filter(e => e.checkVisibility() && parseFloat(getComputedStyle(e).fontSize) < 11)
                    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
                    .map(e => e.outerHTML.slice(0, 80))""")
                self.assertEqual(small, [], tab)

    def test_roles(self):
        page = self.open()
        for tab in TABS:
            self.assertEqual(page.locator(f"#tab-{tab}").get_attribute("aria-controls"), f"panel-{tab}")
            self.assertEqual(page.locator(f"#panel-{tab}").get_attribute("aria-labelledby"), f"tab-{tab}")
        for number, _ in enumerate(TABS, 1):
            page.keyboard.press(str(number))
            nameless = page.evaluate("""() =>
                [...document.querySelectorAll('button, select, input, [role=listbox], [role=application]')]
                .filter(e => e.checkVisibility() && !e.getAttribute('aria-label'))
                .filter(e => !e.textContent.trim() && !e.labels?.length)
                .map(e => e.outerHTML.slice(0, 100))""")
            self.assertEqual(nameless, [])

    def test_pictures(self):
        folder = os.environ.get("ATTEND_PAGE_SHOTS")
        if not folder:
            self.skipTest("ATTEND_PAGE_SHOTS names no folder")
        for scheme in ("light", "dark"):
            for width in (1280, 360):
                for tab in TABS:
                    page = self.open(Example(layers=6, heads=8).data, hash=f"#tab={tab}&view=decoder",
                                     color_scheme=scheme, reduced_motion="reduce",
                                     viewport={"width": width, "height": 900})
                    self.prepare(page, tab)
                    page.wait_for_timeout(200)
                    path = pathlib.Path(folder) / f"{tab}-{scheme}-{width}.png"
                    page.screenshot(path=path)
                    self.assertGreater(path.stat().st_size, 5000)


class TextTest(PageTest):
    """Tokens and titles are strangers' text."""

    def hostile(self):
        data = Example(layers=1, heads=2, source=HOSTILE, target=HOSTILE[::-1]).data
        data["title"] = data["model"] = "<b>title</b><script>window.hacked=1</script>&amp;"
        data["views"][2]["label"] = "<i>cross</i> &lt;"
        hypothesis = {"tokens": HOSTILE, "score": -1.0, "parent": 0, "finished": False, "kept": True}
        data["beams"] = [{"step": 1, "hypotheses": [hypothesis]}]
        return data

    def assert_unharmed(self, page):
        self.assertEqual(page.evaluate("typeof window.hacked"), "undefined")
        self.assertEqual(page.locator(".page b, .page i, .page img, .page script").count(), 0)

    def test_is_shown_as_text_everywhere(self):
        data = self.hostile()
        page = self.open(data, hash="#view=cross&cell=20", title=data["title"],
                         viewport={"width": 1280, "height": 1400})
        self.assertEqual(page.title(), data["title"])
        self.assertEqual(page.locator("h1").first.text_content(), data["title"])
        self.assertIn(f"Model: {data['model']}", page.locator("#about").text_content())
        self.assertEqual(page.locator("#view-options span").nth(2).text_content(), "<i>cross</i> &lt;")
        self.assertEqual(page.locator(".queries .token").all_text_contents(), HOSTILE[::-1])
        self.assertEqual(page.locator(".keys .token").all_text_contents(), HOSTILE)
        self.assert_unharmed(page)
        page.keyboard.press("3")
        self.assertEqual(page.locator("#panel-matrix .heatmap-rows .heatmap-label").all_text_contents(), HOSTILE[::-1])
        self.assertEqual(page.locator("#panel-matrix .heatmap-columns .heatmap-label").all_text_contents(), HOSTILE)
        for i in range(len(HOSTILE)):
            MatrixTest.hover_cell(self, page, i, i, MatrixTest.CELLS)
            tooltip = MatrixTest.tooltip(self, page)
            self.assertEqual((tooltip["row"], tooltip["column"]), (HOSTILE[::-1][i], HOSTILE[i]))
        self.assert_unharmed(page)
        page.keyboard.press("6")
        self.assertEqual(page.locator(".hypothesis .token").all_text_contents(), HOSTILE)
        self.assert_unharmed(page)
        for number in "245":
            page.keyboard.press(number)
            self.assert_unharmed(page)

    def test_right_to_left_text_turns_nothing_round(self):
        data = self.hostile()
        page = self.open(data, hash="#tab=matrix&view=encoder")
        hebrew, arabic = HOSTILE.index("שלום"), HOSTILE.index("مرحبا بالعالم")
        MatrixTest.hover_cell(self, page, hebrew, arabic, MatrixTest.CELLS)
        row, column = (page.locator(f"#tooltip [data-part={part}]") for part in ("row", "column"))
        self.assertEqual(row.text_content(), "שלום")
        self.assertLess(row.bounding_box()["x"], column.bounding_box()["x"])
        self.assertEqual(row.evaluate("e => getComputedStyle(e).direction"), "rtl")
        page.keyboard.press("6")
        tokens = page.locator(".hypothesis .token")
        boxes = [tokens.nth(i).bounding_box() for i in (hebrew, arabic)]
        self.assertLess(boxes[0]["x"], boxes[1]["x"])

    def test_long_tokens_are_cut_and_told_in_full(self):
        page = self.open(self.hostile(), hash="#view=cross")
        long = page.locator(".keys .token").nth(HOSTILE.index("a" * 300))
        self.assertLess(long.bounding_box()["width"], 300)
        self.assertEqual(long.evaluate("e => getComputedStyle(e).textOverflow"), "ellipsis")
        self.assertEqual(long.get_attribute("title"), "a" * 300)

    def test_a_long_title_is_cut_to_two_lines_and_told_in_full(self):
        for title in ("The old cat sat on the mat and looked at the dog. " * 30, "x" * 2000, "קצר " * 400):
            data = Example(layers=1, heads=1).data
            data["title"] = title
            for width in (360, 1280):
                page = self.open(data, title=title, viewport={"width": width, "height": 900})
                heading = page.locator("#title")
                line = heading.evaluate("e => parseFloat(getComputedStyle(e).lineHeight)")
                self.assertAlmostEqual(heading.bounding_box()["height"], 2 * line, delta=1)
                self.assertEqual(heading.get_attribute("title"), title)
                self.assertEqual(heading.text_content(), title)
                box = page.locator("#help-button").bounding_box()
                self.assertLessEqual(box["x"] + box["width"], width)
        short = self.open(viewport={"width": 1280, "height": 900}).locator("#title")
        self.assertLess(short.bounding_box()["height"],
                        1.1 * short.evaluate("e => parseFloat(getComputedStyle(e).lineHeight)"))

    def test_characters_without_a_shape_get_one(self):
        tokens = ["", " ", "\n", "\t", "a\u0000b", "x"]
        page = self.open(Example(layers=1, heads=1, source=tokens, target=tokens).data)
        shown = ["(empty)", "\u2423", "\u240a", "\u2409", "a\u2400b", "x"]
        self.assertEqual(page.locator(".queries .token").all_text_contents(), shown)


class DataTest(PageTest):
    def error_of(self, data):
        page = self.open(data)
        self.assertFalse(page.locator("#page").is_visible())
        message = page.get_by_role("alert").locator("code").text_content()
        self.assertEqual(page.evaluate("attendPage.error"), message)
        self.assertIsNone(page.evaluate("attendPage.state()"))
        return message

    def changed(self, change):
        data = copy.deepcopy(self.example.data)
        change(data)
        return data

    def test_errors_name_what_was_expected_and_what_came(self):
        view, kept = "views", self.example.data["beams"][0]["hypotheses"]
        kept_count = sum(one["kept"] for one in kept)
        cases = [
            ("not json", "data: expected JSON, got \"not json\" ("),
            ("[1]", "data: expected an object, got [1]"),
            (lambda d: d.update(format="bertviz"), 'format: expected "attend attention 1", got "bertviz"'),
            (lambda d: d.pop("format"), 'format: expected "attend attention 1", got nothing'),
            (lambda d: d.pop("tokens"), "tokens: expected lists of tokens by name, got nothing"),
            (lambda d: d["tokens"].update(source="abc"), 'tokens "source": expected a list of tokens, got "abc"'),
            (lambda d: d["tokens"]["source"].append(7), 'tokens "source"[10]: expected text, got 7'),
            (lambda d: d["tokens"]["source"].append("x"),
             'view "encoder", weights: expected 3 x 4 x 11 x 11 weights, 3872 characters of base64, '
             'got 3200 characters'),
            (lambda d: d["tokens"].update(source=[]),
             'view "encoder": expected tokens in the list "source", got an empty list'),
            (lambda d: d.update(views={}), "views: expected a list of views, got {}"),
            (lambda d: d[view][0].pop("name"), "views[0].name: expected text, got nothing"),
            (lambda d: d[view][1].update(rows="nowhere"), 'view "decoder": expected rows and columns that are lists of '
             'tokens ("source" or "target" or "target read"), got "nowhere"'),
            (lambda d: d[view][1].update(heads=0), 'view "decoder", heads: expected a number from 1, got 0'),
            (lambda d: d[view][1].update(layers="2"), 'view "decoder", layers: expected a number from 1, got "2"'),
            (lambda d: d[view][1].update(weights="*" * len(d[view][1]["weights"])),
             'view "decoder", weights: expected base64, got "***'),
            (lambda d: d[view][1].update(weights=None), "base64, got null"),
            (lambda d: d[view][1].update(name="encoder"), 'views: expected names that differ, got "encoder" twice'),
            (lambda d: d.update(beams=5), "beams: expected a list of steps, got 5"),
            (lambda d: d["beams"][1]["hypotheses"][0].update(parent=kept_count),
             f"beams[1].hypotheses[0].parent: expected a number under {kept_count}, one of the hypotheses that the "
             f"step before kept, got {kept_count}"),
            (lambda d: d["beams"][1]["hypotheses"][0].update(score="low"),
             'beams[1].hypotheses[0].score: expected a number, got "low"'),
            (lambda d: d["beams"][1]["hypotheses"][0].update(tokens=["x", "y"]),
             "beams[1].hypotheses[0].tokens: expected the tokens of the parent first"),
        ]
        for change, expected in cases:
            with self.subTest(expected):
                self.assertIn(expected, self.error_of(change if isinstance(change, str) else self.changed(change)))

    def test_a_template_that_was_not_filled_in(self):
        self.assertIn("expected JSON", self.error_of("{{" + "ATTENTION_DATA}}"))

    def test_source_alone(self):
        data = copy.deepcopy(self.example.data)
        del data["tokens"]["target"], data["tokens"]["target read"], data["beams"], data["views"][1:]
        page = self.open(data)
        self.assertEqual(page.locator("[role=tab]").all_text_contents(),
                         ["Heads", "Model", "Matrix", "Rollout", "Entropy"])
        self.assertIn("the query of this source token", page.locator("#panel-heads .note").text_content())
        self.assertEqual(page.locator("#about").text_content(), "Model: marian · 10 source tokens")

    def test_rows_are_explained(self):
        for with_read, view, expected in ((True, "decoder", "has just read this target token"),
                                          (True, "cross", "predicts this target token"),
                                          (False, "cross", "has just read this target token")):
            data = copy.deepcopy(self.example.data)
            if not with_read:
                del data["tokens"]["target read"], data["views"][1]
            page = self.open(data, hash=f"#tab=matrix&view={view}")
            note = page.locator("#panel-matrix .note").text_content()
            self.assertIn(expected, note)
            self.assertIn("sum to 1", note)

    def test_beams_alone_and_nothing_at_all(self):
        page = self.open(self.changed(lambda d: d.update(views=[])))
        self.assert_shows(page, "beams")
        self.assertEqual(page.locator("[role=tab]").count(), 1)
        for key in "123456789vlhs+0":
            page.keyboard.press(key)
        self.assert_shows(page, "beams")
        page = self.open(self.changed(lambda d: (d.update(views=[]), d.pop("beams"))))
        self.assertIn("no attention in this file", page.locator("#panels .empty").text_content())

    def test_one_token(self):
        data = {"format": "attend attention 1", "title": "", "model": "", "tokens": {"source": ["x"]},
                "views": [view_of("self", "Self-attention", "source", "source", [[[[FULL]]]])]}
        page = self.open(data)
        for number, tab in enumerate(TABS[:5], 1):
            page.keyboard.press(str(number))
            self.assert_shows(page, tab)
        # The logarithm of one column is 0: there is no percentage.
        self.assertEqual(page.locator(".entropy-cell").inner_text().split(), ["0.000", "\u2013"])


class LargeTest(PageTest):
    """200 source and 200 target tokens, 6 layers x 8 heads."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        rng = random.Random(3)
        count = 200
        tokens = {"source": [f"▁source{i}" for i in range(count)], "target": [f"▁target{i}" for i in range(count)]}
        encoder, numbers = random_view(rng, "encoder", "Encoder self-attention", "source", "source", tokens, 6, 8)
        others = [{**encoder, "name": "decoder", "label": "Decoder", "rows": "target", "columns": "target"},
                  {**encoder, "name": "cross", "label": "Cross-attention", "rows": "target"}]
        cls.numbers = numbers
        cls.data = {"format": "attend attention 1", "title": "large", "model": "marian", "tokens": tokens,
                    "views": [encoder, *others], "beams": cls.example.data["beams"]}

    # What tells that a tab has drawn all that is in sight.
    READY = {"1": ".tiles.all[data-ready]", "2": ".thumbnail canvas[data-painted]", "3": "#panel-matrix .heatmap-label",
             "4": "#panel-rollout .heatmap-label", "5": ".entropy-cell", "6": ".beam-node"}

    # How fluent a page feels depends on the machine (benchmarks/attention_page.py measures it); how much it does for
    # one key or one move does not, and that is what these tests bound: changes of the document, lines and pictures
    # drawn into canvases.
    COUNT_WORK = """() => {
      const none = () => ({ changes: 0, lines: 0, pictures: 0 });
      const work = none();
      const observer = new MutationObserver((changes) => { work.changes += changes.length; });
      observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
      for (const [method, kind] of [["stroke", "lines"], ["fill", "lines"], ["putImageData", "pictures"],
                                    ["drawImage", "pictures"]]) {
        const plain = CanvasRenderingContext2D.prototype[method];
        CanvasRenderingContext2D.prototype[method] = function (...values) {
          ++work[kind];
          return plain.apply(this, values);
        };
      }
      window.takeWork = async () => {
        for (let i = 0; i < 4; ++i) await new Promise(requestAnimationFrame);
        work.changes += observer.takeRecords().length;
        const taken = { ...work, elements: document.getElementsByTagName("*").length };
        Object.assign(work, none());
        return taken;
      };
    }"""

    def counted(self, hash):
        page = self.open(self.data, hash=hash)
        page.wait_for_selector(self.READY["1"], state="attached")
        page.evaluate(self.COUNT_WORK)
        return page

    def work_of(self, page, act, ready=None):
        page.evaluate("takeWork()")
        act()
        if ready:
            page.wait_for_selector(ready, state="attached")
        return page.evaluate("takeWork()")

    def test_a_switch_draws_what_is_in_sight_and_once(self):
        page = self.counted("#view=encoder")
        pictures = {"1": 0, "2": 6 * 8, "3": 1, "4": 1, "5": 0, "6": 0}
        keys = [(tab, tab) for tab in "23456123456"] + [(tab, key) for tab in "12345" for key in (tab, *"vvvlh")]
        for tab, key in keys:
            with self.subTest(tab=tab, key=key):
                work = self.work_of(page, lambda: page.keyboard.press(key), self.READY[tab])
                self.assertLessEqual(work["pictures"], pictures[tab])
                self.assertLessEqual(work["lines"], 6000 if tab == "1" else 0)
                self.assertLess(work["changes"], 400)
                self.assertLess(work["elements"], 4000)  # not one for each of 200 x 200 cells

    def test_only_the_strongest_lines_are_drawn_and_the_page_says_so(self):
        page = self.open(self.data, hash="#view=encoder")
        page.wait_for_selector(".tiles.all[data-ready]", state="attached")
        self.assertEqual(page.locator(".lines").get_attribute("data-lines"), "6000")
        self.assertRegex(page.locator("#panel-heads .note").text_content(),
                         "Drawn are the 6\u202f000 strongest of \\d+\u202f\\d+ lines")
        page.locator(".queries .token-row").nth(5).hover()
        expected = [f"{sum(head[5][k] for head in self.numbers[0]) / 8 / FULL:.4f}" for k in range(200)]
        self.assertEqual(page.locator(".keys .token-weight").all_text_contents(), expected)

    def test_hover_and_scroll_do_little(self):
        page = self.counted("#view=cross")
        box = page.locator(".token-list.queries").bounding_box()
        for i in range(10):
            work = self.work_of(page, lambda: page.mouse.move(box["x"] + 20, box["y"] + 12 + 24 * i))
            self.assertLess(work["changes"], 2.5 * 200)  # the weight and the shade of each key
            self.assertGreater(work["lines"], 0)
            self.assertLessEqual(work["lines"], 8 * 200)  # one a head and key
            self.assertEqual(work["pictures"], 0)
        self.assertEqual(page.locator(".token-row.active").count(), 1)

        page.mouse.move(640, 500)
        quiet = 0
        for _ in range(20):
            work = self.work_of(page, lambda: page.mouse.wheel(0, 120))
            self.assertLessEqual(work["lines"], 6000)
            self.assertLess(work["changes"], 10)
            quiet += work["lines"] == 0
        self.assertGreater(page.evaluate("scrollY"), 1000)
        self.assertGreaterEqual(quiet, 10)  # a tile that has been drawn is not drawn again

        page.keyboard.press("3")
        page.evaluate("scrollTo(0, 200)")
        box = page.locator("#panel-matrix .heatmap").bounding_box()
        moves = [lambda i=i: page.mouse.move(box["x"] + 200 + 9 * i, box["y"] + 200 + 7 * i) for i in range(10)]
        wheel = [lambda: page.mouse.wheel(0, 120)] * 10
        for act in moves + wheel:
            work = self.work_of(page, act)
            self.assertLess(work["changes"], 20)
            self.assertEqual((work["lines"], work["pictures"]), (0, 0))
            if act is moves[-1]:
                self.assertTrue(page.locator("#tooltip").is_visible())
        self.assertGreater(page.locator("#panel-matrix .heatmap").evaluate("h => h.scrollTop"), 500)

    def test_labels_stay_in_sight_and_beside_their_cells(self):
        page = self.open(self.data, hash="#tab=matrix&view=cross&layer=2&head=5")
        heatmap = page.locator("#panel-matrix .heatmap")
        heatmap.evaluate("h => h.scrollTo(700, 900)")
        box, cells = heatmap.bounding_box(), page.locator("#panel-matrix .heatmap-cells").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        cell = cells["width"] / 200
        row, column = int((y - cells["y"]) / cell), int((x - cells["x"]) / cell)
        value = f"{self.numbers[2][5][row][column] / FULL:.4f}"
        self.assertEqual(MatrixTest.tooltip(self, page),
                         {"row": f"▁target{row}", "column": f"▁source{column}", "value": value})
        row_label, column_label = (page.locator(f"#panel-matrix .heatmap-{side} .heatmap-label.active")
                                   for side in ("rows", "columns"))
        self.assertEqual(row_label.text_content(), f"▁target{row}")
        self.assertEqual(column_label.text_content(), f"▁source{column}")
        self.assertLess(row_label.bounding_box()["x"], box["x"] + 200)
        self.assertAlmostEqual(row_label.bounding_box()["y"], cells["y"] + cell * row, delta=1)
        self.assertAlmostEqual(column_label.bounding_box()["x"], cells["x"] + cell * column, delta=1)
        self.assertLess(column_label.bounding_box()["y"], box["y"] + 200)

    def test_rollout_of_many_tokens(self):
        page = self.open(self.data, hash="#tab=rollout&view=encoder")
        page.wait_for_selector("#panel-rollout .heatmap-label")
        pixels = page.locator("#panel-rollout canvas").evaluate(PIXELS)
        rows = page.evaluate("attendPage.rollout('encoder')")
        self.assert_painted(pixels, rows, largest(rows))
        for row in rows:
            self.assertAlmostEqual(sum(row), 1, delta=1e-9)


if __name__ == "__main__":
    unittest.main()
