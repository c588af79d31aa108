"""The pages that attend-visualize, attend-tour and the server give, in Chromium, beside the numbers they were made of.

What the attention page does is tested with made-up data in tests/viz/page; this is about the programs' own output.
"""

import html
import json
import math
import os
import re
import subprocess
import unittest

from playwright.sync_api import sync_playwright

from serve_command_test import Server
from support import ProgramTest

VISUALIZE = os.environ.get("ATTEND_VISUALIZE", "attend-visualize")
TOUR = os.environ.get("ATTEND_TOUR", "attend-tour")
CHROMIUM = os.environ.get("ATTEND_CHROMIUM", "/usr/bin/chromium")
SCRIPT = "<script>window.hacked=1</script>"
TABS = ["heads", "model", "matrix", "rollout", "entropy", "beams"]
SHOTS = os.environ.get("ATTEND_PAGE_SHOTS")
# Where the numbers and the lines of the titles are, the space around a number counted, and how wide the window is.
CONTENTS = """() => {
  const box = r => ({ left: r.left, right: r.right, top: r.top, bottom: r.bottom });
  const numbers = [], titles = [];
  document.querySelectorAll("nav li").forEach((item, index) => {
    const lines = [...item.querySelector("a").getClientRects()].map(box);
    titles.push(...lines);
    const number = document.createElement("span");
    number.textContent = `${index + 1}.\\u2002`;
    number.style.position = "absolute";
    item.append(number);
    numbers.push({ ...lines[0], left: lines[0].left - number.getBoundingClientRect().width, right: lines[0].left });
    number.remove();
  });
  return [numbers, titles, document.documentElement.clientWidth];
}"""


def overlap(a, b):
    return min(a["right"], b["right"]) - max(a["left"], b["left"]) > 0.5 and \
        min(a["bottom"], b["bottom"]) - max(a["top"], b["top"]) > 0.5


def run(*command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                          check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Pages(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        playwright = sync_playwright().start()
        cls.addClassCleanup(playwright.stop)
        cls.browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        cls.addClassCleanup(cls.browser.close)

    def open(self, path):
        """The page; the test fails at its end where it wrote to the console or asked for anything but itself."""
        messages, requests = [], []
        context = self.browser.new_context(viewport={"width": 1280, "height": 900})
        self.addCleanup(lambda: self.assertEqual((messages, set(requests)), ([], {path.as_uri()})))
        self.addCleanup(context.close)
        context.on("request", lambda request: requests.append(request.url.split("#")[0]))
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.set_default_timeout(60_000)  # a machine that others use too
        page.goto(path.as_uri())
        return page

    def visualize(self, model, text, *arguments):
        """The page of a text, and the numbers of the same text."""
        path = self.folder / "page.html"
        run(VISUALIZE, "-m", model, text, "-o", path, *arguments)
        return self.open(path), json.loads(run(VISUALIZE, "-m", model, text, "-f", "json", "-o", "-", *arguments))

    def assert_shows(self, page, data):
        """Every weight of the page is that of the data, to the 16 bits it is kept in, and the cells tell it."""
        for view in data["views"]:
            kept = page.evaluate("""([view, weights]) => weights.map((layer, l) => layer.map((head, h) =>
              head.map((row, i) => row.map((_, j) => attendPage.weight(view, l, h, i, j)))))""",
                                 [view["name"], view["weights"]])
            flat = lambda deep: [w for layer in deep for head in layer for row in head for w in row]
            self.assertEqual(len(flat(kept)), len(flat(view["weights"])))
            for got, expected in zip(flat(kept), flat(view["weights"])):
                self.assertAlmostEqual(got, expected, delta=1 / 65535)
            page.evaluate("hash => { location.hash = hash; }", f"#tab=matrix&view={view['name']}&layer=0&head=1")
            page.wait_for_function("view => attendPage.state().view === view", arg=view["name"])
            rows, columns = data["tokens"][view["rows"]], data["tokens"][view["columns"]]
            for row, column in ((0, 0), (2, 1)):  # where no one needs to scroll
                box = page.locator("#panel-matrix .heatmap-cells").bounding_box()
                page.mouse.move(box["x"] + (column + 0.5) * box["width"] / len(columns),
                                box["y"] + (row + 0.5) * box["height"] / len(rows))
                told = [page.locator(f"#tooltip [data-part={part}]").text_content() for part in ("row", "column", "value")]
                self.assertEqual(told[:2], [rows[row], columns[column]])
                self.assertAlmostEqual(float(told[2]), view["weights"][0][1][row][column], delta=6e-5)

    def test_a_translation_in_every_tab(self):
        model = self.folder / "transformer"
        status, _, errors = self.train(model, "--after", "20u", "--valid-freq", "20u")
        self.assertEqual(status, 0, errors)
        page, data = self.visualize(model, "the old cat sees a dog", "-b", "3")
        self.assertEqual([view["name"] for view in data["views"]], ["encoder", "decoder", "cross"])
        self.assert_shows(page, data)
        for tab in TABS:
            page.locator(f"#tab-{tab}").click()
            page.wait_for_function("tab => attendPage.state().tab === tab", arg=tab)
            self.assertTrue(page.locator(f"#panel-{tab}").is_visible())
            self.assertGreater(page.locator(f"#panel-{tab} *").count(), 0)
        beams = page.locator("#panel-beams").text_content()
        for hypothesis in data["beams"][0]["hypotheses"]:
            if hypothesis["kept"]:
                self.assertIn(hypothesis["tokens"][-1].replace("▁", ""), beams)

        page, data = self.visualize(model, SCRIPT)
        self.assertIn("script", "".join(data["tokens"]["source"]))
        self.assert_shows(page, data)
        self.assertIsNone(page.evaluate("window.hacked ?? null"))
        self.assertIn(SCRIPT, page.title())

    def test_the_page_of_the_server(self):
        model = self.folder / "served"
        status, _, errors = self.train(model, "--after", "20u", "--valid-freq", "20u")
        self.assertEqual(status, 0, errors)
        server = Server(model, "--max-text", "1000")
        self.addCleanup(server.__exit__)
        address, messages, requests = f"http://127.0.0.1:{server.port}", [], []
        page = self.browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        self.addCleanup(page.context.close)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.set_default_timeout(60_000)
        page.goto(address)
        for text, key in (("the old cat sees a dog", None), (SCRIPT, "Control+Enter")):
            expected = server.translate(text=text, attention=True)[1]["results"][0]["translations"][0]
            page.fill("#text", text)
            page.locator("#go").click() if key is None else page.locator("#text").press(key)
            page.wait_for_function("text => document.getElementById('translation').textContent === text",
                                   arg=expected["text"])
            # The cells: their words and, from the colour's opacity, their weights.
            columns = page.locator("#map thead th").all_text_contents()
            self.assertEqual(columns, text.split())
            self.assertEqual(page.locator("#map tbody th").all_text_contents(), expected["text"].split())
            shown = page.evaluate("""() => [...document.querySelectorAll("#map tbody tr")].map(row =>
                [...row.cells].slice(1).map(cell => Number(cell.title.split(": ").at(-1))))""")
            opacity = page.evaluate("""() => [...document.querySelectorAll("#map tbody tr")].map(row =>
                [...row.cells].slice(1).map(cell => {
                  const parts = getComputedStyle(cell).backgroundColor.match(/[0-9.]+/g).map(Number);
                  return parts.length === 4 ? parts[3] : 1;
                }))""")
            for rows, delta in ((shown, 0.0006), (opacity, 0.006)):  # Chromium tells two digits of the opacity
                self.assertEqual([len(row) for row in rows], [len(columns)] * len(expected["attention"]))
                for row, weights in zip(rows, expected["attention"]):
                    for got, weight in zip(row, weights):
                        self.assertAlmostEqual(got, weight, delta=delta)
        self.assertIsNone(page.evaluate("window.hacked ?? null"))
        self.assertEqual(messages, [])
        # What the server refuses is told.
        page.fill("#text", "a" * 2000)
        page.locator("#go").click()
        page.wait_for_selector("#problem:not([hidden])")
        self.assertIn("1000 bytes", page.locator("#problem").text_content())
        self.assertFalse(page.locator("#result").is_visible())
        self.assertEqual({url.removeprefix(address) for url in requests}, {"/", "/translate"})

    def test_a_recurrent_model(self):
        model = self.folder / "recurrent"
        status, _, errors = self.train(model, "--model", "recurrent", "--after", "20u", "--valid-freq", "20u")
        self.assertEqual(status, 0, errors)
        path = self.folder / "recurrent.html"
        run(VISUALIZE, "-m", model, "a cat sleeps", "-o", path)
        page = self.open(path)
        page.locator("#tab-matrix").click()
        self.assertTrue(page.locator("#panel-matrix .heatmap-cells").is_visible())

    def test_the_tour_shows_its_figures(self):
        folder = self.folder / "tour"
        run(TOUR, "scaled-dot-product", "causal", "positions", "-o", folder)
        page = self.open(folder / "index.html")
        figures = page.locator("figure")
        names = figures.evaluate_all("all => all.map(figure => figure.id)")
        self.assertEqual(sorted(names), sorted(path.stem for path in (folder / "figures").glob("*.svg")))
        for index, name in enumerate(names):
            box = figures.nth(index).locator("svg").first.bounding_box()
            self.assertGreater(min(box["width"], box["height"]), 100, name)
            self.assertLessEqual(box["x"] + box["width"], 1280, f"{name} is wider than the window")
        # The cells of the softmax of equation 1, in the browser's document, are those of the formula.
        words = {"The": [1, .5, 0, .5], "cat": [0, 1, 1, 0], "sat": [0, 0, .5, 1], "down": [.5, 0, 0, 1]}
        cells = page.locator("#scaled-dot-product-d4-weights rect > title").all_text_contents()
        told = dict(re.fullmatch(r"(.*): (.*)", cell).groups() for cell in cells)
        for query, x in words.items():
            exps = {key: math.exp(sum(a * b for a, b in zip(x, y)) / 2) for key, y in words.items()}
            for key, exp in exps.items():
                self.assertAlmostEqual(float(told[f"{query} / {key}"]), exp / sum(exps.values()), delta=6e-5)
        self.assertEqual(html.unescape(page.title()), page.title())

    def test_the_numbers_of_the_tour_s_contents_stand_clear_of_the_titles(self):
        folder = self.folder / "contents"
        (folder / "chapters").mkdir(parents=True)
        listed = [line.split(maxsplit=1) for line in run(TOUR, "--list").decode().splitlines()]
        self.assertGreater(len(listed), 10)
        for name, title in listed:  # as if every chapter had been run
            (folder / "chapters" / f"{name}.html").write_text(f'<h2 id="{name}">{html.escape(title)}</h2>\n')
        run(TOUR, listed[0][0], "-o", folder)
        page = self.open(folder / "index.html")
        for width in (320, 480, 700, 820, 1280, 2000):
            page.set_viewport_size({"width": width, "height": 900})
            if SHOTS:
                page.screenshot(path=f"{SHOTS}/contents-{width}.png")
            numbers, titles, window = page.evaluate(CONTENTS)
            self.assertEqual(len(numbers), len(listed))
            for number in numbers:
                self.assertGreaterEqual(number["left"], 0, f"{width}: a number is cut off")
                for title in titles:
                    self.assertFalse(overlap(number, title), f"{width}: {number} runs into {title}")
            self.assertLessEqual(max(title["right"] for title in titles), window)


if __name__ == "__main__":
    unittest.main()
