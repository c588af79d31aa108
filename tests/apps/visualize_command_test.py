"""attend-visualize from the shell: what it writes, what it refuses, and with which exit status."""

import json
import os
import subprocess
import unittest
import xml.etree.ElementTree

from support import ProgramTest

PROGRAM = os.environ.get("ATTEND_VISUALIZE", "attend-visualize")
TEXT = "the cat sees the dog"


def run(*arguments, text="", **options):
    """Runs the program to its end: exit status, standard output as bytes, standard error."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], input=text.encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, check=False, **options)
    return done.returncode, done.stdout, done.stderr.decode()


class Visualize(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.models = {}
        for kind in ("transformer", "recurrent"):
            cls.models[kind] = cls.folder / kind
            status, _, errors = cls.train(cls.models[kind], "--model", kind, "--after", "20u", "--valid-freq", "20u")
            assert status == 0, errors
        cls.model = cls.models["transformer"]

    def data(self, *arguments, model=None, **options):
        status, out, errors = run("-m", model or self.model, "-f", "json", "-o", "-", *arguments, **options)
        self.assertEqual(status, 0, errors)
        return json.loads(out)

    def assert_weights_fit(self, data):
        for view in data["views"]:
            self.assertEqual(len(view["weights"]), view["layers"])
            for layer in view["weights"]:
                self.assertEqual(len(layer), view["heads"])
                for head in layer:
                    self.assertEqual(len(head), len(data["tokens"][view["rows"]]))
                    for row in head:
                        self.assertEqual(len(row), len(data["tokens"][view["columns"]]))
                        self.assertAlmostEqual(sum(row), 1.0, places=5)

    def test_a_translator_shows_three_kinds_of_attention_and_its_search(self):
        data = self.data(TEXT, "-b", 3)
        self.assertEqual([view["name"] for view in data["views"]], ["encoder", "decoder", "cross"])
        self.assert_weights_fit(data)
        self.assertEqual(data["tokens"]["source"][-1], "</s>")
        self.assertEqual(data["tokens"]["target"][:-1], data["tokens"]["target read"][1:])
        decoder = data["views"][1]["weights"]
        self.assertTrue(all(row[i + 1:] == [0.0] * (len(row) - i - 1)
                            for layer in decoder for head in layer for i, row in enumerate(head)))
        # The steps of the search spell the translation.
        spelled = [h["tokens"] for step in data["beams"] for h in step["hypotheses"] if h["finished"]]
        self.assertIn(data["tokens"]["target"], spelled)
        for step in data["beams"]:
            self.assertLessEqual(sum(h["kept"] for h in step["hypotheses"]), 3)

    def test_a_given_translation_is_forced(self):
        data = self.data(TEXT, "--target", "le chat")
        self.assertNotIn("beams", data)
        self.assertEqual("".join(data["tokens"]["target"]).replace("▁", " ").strip(), "le chat</s>")
        self.assert_weights_fit(data)

    def test_a_recurrent_translator_shows_its_cross_attention(self):
        data = self.data(TEXT, model=self.models["recurrent"])
        self.assertEqual([view["name"] for view in data["views"]], ["cross"])
        self.assert_weights_fit(data)

    def test_standard_input_is_the_same_as_arguments(self):
        self.assertEqual(self.data(text=TEXT + "\n"), self.data(TEXT))
        self.assertEqual(self.data(*TEXT.split()), self.data(TEXT))

    def test_every_format_is_what_it_says(self):
        for form, start in (("html", b"<!doctype html>"), ("png", b"\x89PNG"), ("svg", b"<svg"), ("json", b"{")):
            path = self.folder / f"out.{form}"
            status, out, errors = run("-m", self.model, TEXT, "-f", form, "-o", path)
            self.assertEqual((status, out), (0, b""), errors)
            self.assertEqual(errors, f"wrote {path}\n")
            self.assertTrue(path.read_bytes().lower().startswith(start.lower()), path.read_bytes()[:40])
        status, out, _ = run("-m", self.model, TEXT, "-f", "text")
        text = out.decode()
        self.assertEqual(status, 0)
        self.assertIn("Cross-attention, layer 0\n", text)
        self.assertIn("head 1", text)
        self.assertNotIn("\x1b", text, "colours although standard output is no terminal")

    def test_the_default_file_lies_in_the_current_folder(self):
        status, _, errors = run("-m", self.model, TEXT, cwd=self.folder)
        self.assertEqual((status, errors), (0, "wrote attention.html\n"))
        self.assertTrue((self.folder / "attention.html").exists())

    def test_one_head_or_their_mean(self):
        weights = self.data(TEXT)["views"][0]["weights"][0]
        for head, expected in (("1", weights[1]), ("-1", weights[1]), ("mean", None)):
            status, out, errors = run("-m", self.model, TEXT, "-f", "text", "--view", "encoder", f"--head={head}")
            self.assertEqual(status, 0, errors)
            first_row = out.decode().split("\n\n")[1].splitlines()[2].split()
            row = expected[0] if expected else [sum(column) / 2 for column in zip(weights[0][0], weights[1][0])]
            for shown, weight in zip(first_row[-len(row):], row):
                self.assertAlmostEqual(float(shown), weight, delta=0.0051)

    def test_markup_in_a_text_stays_text(self):
        status, out, errors = run("-m", self.model, "<script>alert(1)</script> & more", "-o", "-")
        self.assertEqual(status, 0, errors)
        self.assertNotIn(b"<script>alert", out)
        self.assertIn(b"&lt;script&gt;alert(1)&lt;/script&gt; &amp; more", out)

    def refused(self, result, status, *phrases):
        self.assertEqual(result[0], status, result)
        for phrase in phrases:
            self.assertIn(phrase, result[2])
        self.assertNotIn("frame #", result[2], "a backtrace")

    def test_bad_input_is_named(self):
        self.refused(run("-m", self.model, text=" \n"), 1, "expected a text, got an empty one")
        self.refused(run("-m", self.folder / "none", TEXT), 1, "none/config.json")
        self.refused(run("-m", self.model, "a " * 2000), 1, "at most the model's 64 positions, got")
        self.refused(run("-m", self.model, TEXT, "-f", "png", "--view", "self"), 1,
                     "--view: expected one of encoder, decoder, cross, got self")
        self.refused(run("-m", self.model, TEXT, "-f", "png", "--layer", 1), 1,
                     "--layer: expected a number in [-1, 1), got 1")
        self.refused(run("-m", self.model, TEXT, "-o", "/dev/full"), 1, "/dev/full", "expected a regular file")
        self.refused(run("-m", self.model, TEXT, "-o", self.folder / "no" / "folder.html"), 1, "no/folder.html")

    def test_usage_errors_exit_with_2(self):
        self.refused(run(TEXT), 2, "--model-dir")
        self.refused(run("-m", self.model, TEXT, "-f", "gif"), 2, "gif")
        self.refused(run("-m", self.model, TEXT, "--no-such-flag"), 2, "--no-such-flag")
        self.refused(run("-m", self.model, TEXT, "-f", "text", "--head", "last"), 2,
                     "--head: expected mean or a whole number in [-1000, 1000], got last")

    def test_text_that_no_font_has_is_drawn_all_the_same(self):
        text = "a\ufffe b\uffff \ufdd0 \U0001fffe \U0010ffff \ufeffc \x01 \x1b[31m \x85 \u2028 \udced\udca0\udc80 \udcff"
        for form in ("png", "svg", "html", "json", "text"):
            status, out, errors = run("-m", self.model, text, "--target", text, "-f", form, "-o", "-")
            self.assertEqual(status, 0, f"{form}: {errors}")
            if form == "png":
                self.assertTrue(out.startswith(b"\x89PNG"))
                continue
            out = out.decode()  # is UTF-8
            if form == "svg":
                xml.etree.ElementTree.fromstring(out)
            if form == "json":
                self.assertIn("\U0010ffff", json.loads(out)["title"])
            if form == "text":
                self.assertNotIn("\x1b", out)

    def test_a_full_disk_leaves_nothing_behind(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "-m", str(self.model), TEXT, "-o", "-"], stdout=full,
                                  stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output: cannot write", done.stderr)


if __name__ == "__main__":
    unittest.main()
