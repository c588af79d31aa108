"""attend-tour from the shell: its chapters without trained models, compared with the formulas in Python."""

import math
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

PROGRAM = os.environ.get("ATTEND_TOUR", "attend-tour")
BY_HAND = ["dot-products", "self-attention", "scaled-dot-product", "causal", "scaling"]
OF_MODULES = ["random", "positions", "additive", "torch"]
WORDS = ["The", "cat", "sat", "down"]
FOUR = [[1, .5, 0, .5], [0, 1, 1, 0], [0, 0, .5, 1], [.5, 0, 0, 1]]
SIX = [[1, .5, 0, .5, 0, 0], [0, 1, 1, 0, .5, 0], [0, 0, .5, 1, 1, .5], [.5, 0, 0, .5, 1, 1]]


def run(*arguments, **options):
    done = subprocess.run([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                          check=False, **options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def attention(x, causal=False):
    """softmax(x x^T / sqrt(d)) of a list of vectors, and times x."""
    weights = []
    for i, query in enumerate(x):
        scores = [sum(a * b for a, b in zip(query, key)) / math.sqrt(len(query)) for key in x]
        exps = [math.exp(s) if j <= i or not causal else 0.0 for j, s in enumerate(scores)]
        weights.append([e / sum(exps) for e in exps])
    output = [[sum(w * v[d] for w, v in zip(row, x)) for d in range(len(x[0]))] for row in weights]
    return weights, output


class Tour(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = pathlib.Path(tempfile.mkdtemp(prefix="attend-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.base)
        cls.folder = cls.base / "tour"
        status, cls.text, errors = run(*BY_HAND, *OF_MODULES, "-o", cls.folder)
        assert status == 0, errors
        cls.page = (cls.folder / "index.html").read_text(encoding="utf-8")

    def matrices(self, title, text=None):
        """The numbers of every matrix printed under a title, the row's label left out."""
        found = []
        lines = (text or self.text).splitlines()
        for at, line in enumerate(lines):
            if line != title:
                continue
            rows, columns = [], len(lines[at + 1].split())
            for row in lines[at + 2:]:
                numbers = re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", " ".join(row.split()[1:]))
                if len(numbers) != columns or len(row.split()) != columns + 1:
                    break
                rows.append([float(number) for number in numbers])
            found.append(rows)
        return found

    def assert_close(self, printed, expected):
        self.assertEqual(len(printed), len(expected))
        for row, wanted in zip(printed, expected):
            self.assertEqual(len(row), len(wanted), (row, wanted))
            for number, value in zip(row, wanted):
                self.assertAlmostEqual(number, value, delta=0.0051)

    def test_dot_products_are_those_of_the_three_words(self):
        self.assertIn("cat . sat = 1 x 0 + 0 x 1 + 1 x 1 = 1", self.text)
        self.assert_close(self.matrices("X X^T")[0], [[2, 1, 1], [1, 2, 1], [1, 1, 2]])

    def test_scaled_dot_product_attention_is_the_formula(self):
        # Regular with four numbers a word, with six, and with six under the causal mask.
        weights = self.matrices("softmax, row by row")
        outputs = self.matrices("output: weights x V")
        for i, (x, causal) in enumerate(((FOUR, False), (SIX, False), (SIX, True))):
            expected, output = attention(x, causal)
            self.assert_close(weights[i], expected)
            self.assert_close(outputs[i], output)

    def test_each_step_agrees_with_the_module(self):
        differences = [float(d) for d in re.findall(r"largest difference (\S+)\.\n", self.text)]
        self.assertEqual(len(differences), 4)
        self.assertLess(max(differences), 1e-6)
        beside_torch = re.findall(r"(?:regular|causal) +output (\S+) +mean weights (\S+)", self.text)
        self.assertEqual(len(beside_torch), 2)
        for pair in beside_torch:
            self.assertLess(max(map(float, pair)), 1e-5)

    def test_every_word_s_weights_sum_to_one(self):
        sums = re.findall(r"normalised .*sum (\S+)", self.text)
        self.assertEqual(sums, ["1.000"] * 3)

    def test_scaling_keeps_the_entropy(self):
        rows = [tuple(map(float, row)) for row in re.findall(r"^ +(\d+) +(\d\.\d{3}) +(\d\.\d{3})$", self.text, re.M)]
        self.assertEqual([row[0] for row in rows], [2.0 ** i for i in range(10)])
        self.assertTrue(all(2.2 < divided < math.log(16) for _, divided, _ in rows), rows)
        self.assertLess(rows[-1][2], 0.2)

    def test_every_figure_is_there_as_png_and_svg(self):
        named = re.findall(r"^\[(.*)\.png\]$", self.text, re.M)
        self.assertGreater(len(named), 25)
        self.assertEqual(len(named), len(set(named)))
        for name in named:
            self.assertTrue(pathlib.Path(name + ".png").read_bytes().startswith(b"\x89PNG"), name)
            self.assertIn("<svg", pathlib.Path(name + ".svg").read_text(encoding="utf-8"), name)
        self.assertEqual(self.page.count("<figure"), len(named))

    def test_the_page_holds_all_and_loads_nothing(self):
        for name in BY_HAND + OF_MODULES:
            self.assertIn(f'<h2 id="{name}">', self.page)
            self.assertIn(f'href="#{name}"', self.page)
        self.assertIn("0 x 1 + 1 x 1 = 1\ncat . mat = 1 x 1", self.page)
        self.assertNotIn("<script", self.page)
        addresses = set(re.findall(r"https?://[^\"'<> ]+", self.page))
        self.assertLessEqual(addresses, {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"})
        self.assertEqual(re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*\"", self.page), [])

    def test_a_chapter_alone_shows_the_same_numbers_and_keeps_the_others(self):
        status, text, errors = run("self-attention", "-o", self.folder)
        self.assertEqual(status, 0, errors)
        self.assertEqual(self.matrices("x", text), self.matrices("x"))
        self.assertEqual((self.folder / "index.html").read_text(encoding="utf-8"), self.page)

    def test_the_chapters_are_listed(self):
        status, text, _ = run("--list")
        self.assertEqual(status, 0)
        names = [line.split()[0] for line in text.splitlines()]
        self.assertEqual(names[:9], BY_HAND + OF_MODULES)
        self.assertIn("vision", names)

    def test_bad_input_is_named(self):
        status, _, errors = run("no-such-chapter", "-o", self.base / "other")
        self.assertEqual(status, 1)
        self.assertIn("expected a chapter that --list names, got no-such-chapter", errors)
        self.assertFalse((self.base / "other").exists())
        in_the_way = self.base / "file"
        in_the_way.write_text("")
        status, _, errors = run("dot-products", "-o", in_the_way)
        self.assertEqual(status, 1)
        self.assertIn(str(in_the_way), errors)
        self.assertEqual(run("--no-such-flag")[0], 2)


if __name__ == "__main__":
    unittest.main()
