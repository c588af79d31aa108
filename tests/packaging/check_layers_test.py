"""scripts/check_layers on small trees, good and bad."""

import importlib.machinery
import importlib.util
import pathlib
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts/check_layers"
loader = importlib.machinery.SourceFileLoader("check_layers", str(SCRIPT))
check_layers = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_layers", loader))
loader.exec_module(check_layers)


class CheckLayers(unittest.TestCase):

    first_lines = "#pragma once\n\n// For tests.\n"

    def errors(self, files, exceptions=frozenset()):
        with tempfile.TemporaryDirectory() as folder:
            for path, includes in files.items():
                file = pathlib.Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                text = self.first_lines + "".join(f"#include {name}\n" for name in includes)
                file.write_text(text)
            return check_layers.check(pathlib.Path(folder), exceptions)

    def assert_error(self, files, *phrases):
        errors = "\n".join(self.errors(files))
        for phrase in phrases:
            self.assertIn(phrase, errors)

    def test_good_tree(self):
        self.assertEqual(self.errors({
            "include/attend/attend.h": ['"attend/modules/b.h"'],
            "include/attend/functional/a.h": ["<vector>", "<torch/torch.h>", '"attend/export.h"'],
            "include/attend/modules/b.h": ['"attend/functional/a.h"'],
            "src/modules/b.cpp": ['"attend/modules/b.h"', '"detail/c.h"', '"functional/private.h"'],
            "src/functional/private.h": ['"attend/functional/a.h"'],
            "src/detail/c.h": ["<string>"],
            "src/pch.cpp": [],
            "include/attend/text/d.h": [],
            "include/attend/data/e.h": ['"attend/text/d.h"'],
            "include/attend/translation/f.h": ['"attend/data/e.h"', '"attend/modules/b.h"'],
            "apps/main.cpp": ["<attend/attend.h>", '"attend/translation/f.h"', '"flags.h"'],
            "apps/flags.h": [],
        }), [])

    def test_a_layer_to_the_right(self):
        self.assert_error({"include/attend/functional/a.h": ["<vector>", '"attend/modules/b.h"'],
                           "include/attend/modules/b.h": []},
                          'include/attend/functional/a.h:5: functional may not include modules ("attend/modules/b.h")')
        self.assert_error({"src/text/a.cpp": ["<attend/data/b.h>"], "include/attend/data/b.h": []},
                          "text may not include data")

    def test_other_branches(self):
        header = {"include/attend/text/t.h": [], "include/attend/modules/m.h": [],
                  "include/attend/checkpoint/c.h": [], "include/attend/viz/v.h": []}
        for layer, name, target in (("models", "text/t.h", "text"), ("data", "modules/m.h", "modules"),
                                    ("decoding", "checkpoint/c.h", "checkpoint"),
                                    ("viz", "modules/m.h", "modules"), ("training", "viz/v.h", "viz"),
                                    ("detail", "modules/m.h", "modules")):
            with self.subTest(layer=layer):
                self.assert_error({**header, f"src/{layer}/x.cpp": [f'"attend/{name}"']},
                                  f"{layer} may not include {target}")

    def test_the_umbrella_is_for_users(self):
        self.assert_error({"include/attend/attend.h": [], "src/modules/m.cpp": ['"attend/attend.h"']},
                          "modules may not include umbrella")

    def test_a_public_header_with_a_private_one(self):
        self.assert_error({"include/attend/modules/m.h": ['"detail/d.h"'], "src/detail/d.h": []},
                          "expected a public header")

    def test_a_public_header_that_is_for_nobody(self):
        self.first_lines = "#pragma once\n\n#include <vector>\n"
        self.assert_error({"include/attend/modules/m.h": []}, "include/attend/modules/m.h: expected a public header to "
                          "say in its first comment whom it is for")
        self.assertEqual(self.errors({"src/modules/m.h": []}), [])

    def test_a_missing_header(self):
        self.assert_error({"src/modules/m.cpp": ['"attend/modules/gone.h"']}, "got no file")

    def test_an_unknown_folder(self):
        self.assert_error({"src/misc/m.cpp": []}, "expected a folder that is a layer")

    def test_a_cycle(self):
        self.assert_error({"src/modules/a.h": ['"modules/b.h"'], "src/modules/b.h": ['"c.h"'],
                           "src/modules/c.h": ['"a.h"']}, "files include each other: src/modules/a.h -> ")

    def test_exceptions(self):
        files = {"src/detail/d.cpp": ['"attend/modules/m.h"'], "include/attend/modules/m.h": []}
        exception = ("src/detail/d.cpp", "include/attend/modules/m.h")
        self.assertEqual(self.errors(files, {exception}), [])
        files["src/detail/d.cpp"] = []
        self.assertIn("is not needed", "\n".join(self.errors(files, {exception})))

    def test_this_project(self):
        self.assertEqual(check_layers.check(SCRIPT.parent.parent), [])


if __name__ == "__main__":
    unittest.main()
