"""Where cmake/AttendTorch.cmake looks for LibTorch, in made-up trees."""

import unittest

from support import SOURCE, PackagingTest, environment

SEARCH = SOURCE / "tests/packaging/search"


class TorchSearch(PackagingTest):

    def make_torch(self, name, version="2.11.0", cuda=None):
        """A folder that looks like the LibTorch of a wheel."""
        prefix = self.work / name
        config = prefix / "share/cmake/Torch"
        config.mkdir(parents=True)
        (prefix / "lib").mkdir()
        (config / "TorchConfig.cmake").write_text('message(FATAL_ERROR "not to be read")\n')
        (config / "TorchConfigVersion.cmake").write_text(f'set(PACKAGE_VERSION "{version}")\n')
        for library in ["torch_cpu", "c10"] + (["torch_cuda"] if cuda else []):
            (prefix / "lib" / f"lib{library}.so").touch()
        if cuda:
            (prefix / "version.py").write_text(f"cuda: Optional[str] = '{cuda}'\n")
        return prefix

    def make_environment(self, name, complete=True, **torch):
        """A folder that looks like the private environment."""
        root = self.work / name
        self.make_torch(f"{name}/lib/python3.11/site-packages/torch", **torch)
        if complete:
            (root / ".attend-complete").touch()
        return root

    def make_python(self, torch):
        """A folder for PATH whose python3 has that torch, or none."""
        folder = self.work / f"python-{torch.name if torch else 'bare'}"
        folder.mkdir()
        program = folder / "python3"
        program.write_text(f"#!/bin/sh\necho '{torch or ''}'\n")
        program.chmod(0o755)
        return folder

    def setUp(self):
        self.setUpClass()
        self.no_torch = self.make_python(None)

    def search(self, *arguments, python=None, **variables):
        path = f"{python or self.no_torch}:/usr/bin:/bin"
        return self.configure(SEARCH, *arguments, env=environment(PATH=path, **variables))

    @staticmethod
    def config(prefix):
        return prefix / "share/cmake/Torch"

    def test_torch_dir_names_it(self):
        torch = self.make_torch("named")
        self.assert_succeeds(self.search(f"-DTorch_DIR={self.config(torch)}"),
                             f"LibTorch 2.11.0 from {torch} (named by Torch_DIR; built without CUDA)")
        self.assert_succeeds(self.search(Torch_DIR=self.config(torch)),
                             f"from {torch} (named by Torch_DIR;")

    def test_cmake_prefix_path_names_it(self):
        folder = self.work / "somewhere"
        torch = self.make_torch("somewhere/torch")
        for directory in (torch, torch / "share/cmake", folder):
            said = f"from {torch} (named by CMAKE_PREFIX_PATH;"
            with self.subTest(directory=directory):
                self.assert_succeeds(self.search(f"-DCMAKE_PREFIX_PATH=/nowhere;{directory}"), said)
                self.assert_succeeds(self.search(CMAKE_PREFIX_PATH=f"/nowhere:{directory}"), said)

    def test_a_path_may_hold_spaces(self):
        torch = self.make_torch("a folder with spaces")
        self.assert_succeeds(self.search(f"-DCMAKE_PREFIX_PATH={torch}"), f"from {torch} (")

    def test_the_named_one_wins(self):
        first, second, third = (self.make_torch(name) for name in ("first", "second", "third"))
        private = self.make_environment("private")
        fallback = f"-DATTEND_TORCH_FALLBACK_PREFIXES={private}"
        python = self.make_python(third)
        self.assert_succeeds(
            self.search(f"-DTorch_DIR={self.config(first)}", f"-DCMAKE_PREFIX_PATH={second}", fallback,
                        python=python), f"from {first} (named by Torch_DIR;")
        self.assert_succeeds(self.search(f"-DCMAKE_PREFIX_PATH={second}", fallback, python=python),
                             f"from {second} (named by CMAKE_PREFIX_PATH;")
        self.assert_succeeds(self.search(fallback, python=python), f"from {third} (the active Python;")
        self.assert_succeeds(self.search(fallback),
                             f"from {private}/lib/python3.11/site-packages/torch (the private environment")

    def test_a_prefix_path_without_torch_is_no_name(self):
        torch = self.make_torch("pythons")
        self.assert_succeeds(self.search(f"-DCMAKE_PREFIX_PATH={self.work}", python=self.make_python(torch)),
                             f"from {torch} (the active Python;")

    def test_a_later_version_is_accepted(self):
        torch = self.make_torch("later", version="2.12.1")
        self.assert_succeeds(self.search(f"-DCMAKE_PREFIX_PATH={torch}"), "LibTorch 2.12.1 from")

    def test_an_earlier_version_that_is_named_is_an_error(self):
        torch = self.make_torch("earlier", version="2.10.0")
        private = self.make_environment("private")
        self.assert_fails(
            self.search(f"-DCMAKE_PREFIX_PATH={torch}", f"-DATTEND_TORCH_FALLBACK_PREFIXES={private}"),
            f"attend: expected LibTorch 2.11.0 or later, got '2.10.0' in {torch} (named by")

    def test_an_earlier_version_in_the_active_python_is_passed_over(self):
        torch = self.make_torch("earlier", version="2.5.1")
        python = self.make_python(torch)
        private = self.make_environment("private")
        said = f"expected LibTorch 2.11.0 or later, got '2.5.1' in {torch} (the active Python)"
        self.assert_succeeds(self.search(f"-DATTEND_TORCH_FALLBACK_PREFIXES={private}", python=python),
                             f"passed over a LibTorch: {said}", "(the private environment")
        self.assert_fails(self.search(python=python), "got none", f"Passed over: {said}")

    def test_an_unfinished_environment_is_not_used(self):
        private = self.make_environment("private", complete=False)
        self.assert_fails(self.search(f"-DATTEND_TORCH_FALLBACK_PREFIXES={private}"), "got none")

    def test_none_at_all_is_an_error_that_says_what_to_do(self):
        self.assert_fails(self.search(), "attend: expected LibTorch 2.11.0 or later, got none.",
                          "Run scripts/setup", "-DTorch_DIR=")

    def test_a_wrong_torch_dir_is_an_error(self):
        for directory in (self.work, self.work / "missing"):
            with self.subTest(directory=directory):
                said = f"attend: expected Torch_DIR to hold TorchConfig.cmake, got {directory}"
                self.assert_fails(self.search(f"-DTorch_DIR={directory}"), said)
                self.assert_fails(self.search(Torch_DIR=directory), said)

    def test_a_missing_library_is_an_error(self):
        torch = self.make_torch("broken")
        (torch / "lib/libc10.so").unlink()
        self.assert_fails(self.search(f"-DCMAKE_PREFIX_PATH={torch}"),
                          f"attend: expected {torch}/lib/libc10.so, got no such file")

    def test_an_unknown_version_is_an_error(self):
        torch = self.make_torch("unknown", version="")
        self.assert_fails(self.search(f"-DCMAKE_PREFIX_PATH={torch}"), "or later, got '' in")

    def test_it_tells_the_cuda_version(self):
        wheel = self.make_torch("wheel", cuda="13.0")
        self.assert_succeeds(self.search(f"-DCMAKE_PREFIX_PATH={wheel}"), "; built with CUDA 13.0)")
        archive = self.make_torch("archive", cuda="0.0")
        (archive / "version.py").unlink()
        (archive / "build-version").write_text("2.11.0+cu128\n")
        self.assert_succeeds(self.search(f"-DCMAKE_PREFIX_PATH={archive}"), "; built with CUDA 12.8)")


if __name__ == "__main__":
    unittest.main()
