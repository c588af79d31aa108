"""The configure step of attend itself: without the toolkit's packages, and with and without CUDA."""

import shutil
import unittest

from support import BUILD, SOURCE, PackagingTest, cache, environment, run

SEARCH = SOURCE / "tests/packaging/search"


class CoreOnly(PackagingTest):
    """The core configures where the toolkit's packages are missing."""

    def configure_attend(self, *arguments):
        return self.configure(SOURCE, "-DATTEND_CUDA=OFF", "-DATTEND_BUILD_TESTS=OFF", *arguments)

    def test_hidden_packages(self):
        hidden = "-DCMAKE_DISABLE_FIND_PACKAGE_PkgConfig=ON"
        self.assert_succeeds(self.configure_attend(hidden), "attend: toolkit: OFF (not found: pkg-config)")
        self.assert_fails(self.configure_attend(hidden, "-DATTEND_TOOLKIT=ON"),
                          "attend: ATTEND_TOOLKIT=ON expected pkg-config, got none")

    def test_the_systems_sentencepiece_is_not_taken(self):
        elsewhere = f"-DATTEND_SENTENCEPIECE_ROOT={self.work}"
        reason = f"attend's build of SentencePiece in {self.work} (the system's libsentencepiece is not used: "
        self.assert_succeeds(self.configure_attend(elsewhere), f"attend: toolkit: OFF (not found: {reason}")
        self.assert_fails(self.configure_attend(elsewhere, "-DATTEND_TOOLKIT=ON"),
                          f"attend: ATTEND_TOOLKIT=ON expected {reason}")

    def test_off(self):
        self.assert_succeeds(self.configure_attend("-DATTEND_TOOLKIT=OFF"), "attend: toolkit: OFF")


class Cuda(PackagingTest):
    """When ATTEND_CUDA is on by default."""

    def make_torch(self, cuda):
        prefix = self.work / f"torch-{cuda}"
        shutil.rmtree(prefix, ignore_errors=True)
        config = prefix / "share/cmake/Torch"
        config.mkdir(parents=True)
        (prefix / "lib").mkdir()
        (config / "TorchConfig.cmake").touch()
        (config / "TorchConfigVersion.cmake").write_text('set(PACKAGE_VERSION "2.11.0")\n')
        for library in ["torch_cpu", "c10"] + (["torch_cuda"] if cuda else []):
            (prefix / "lib" / f"lib{library}.so").touch()
        (prefix / "version.py").write_text(f"cuda: Optional[str] = '{cuda}'\n" if cuda else "cuda = None\n")
        return prefix

    def search(self, cuda, *arguments):
        return self.configure(SEARCH, "-DCHECK_CUDA=ON", f"-DCMAKE_PREFIX_PATH={self.make_torch(cuda)}",
                              *arguments)

    def test_a_cpu_libtorch(self):
        self.assert_succeeds(self.search(""), "attend: CUDA toolkit: OFF (expected a LibTorch with its CUDA half, got")
        self.assert_fails(self.search("", "-DATTEND_CUDA=ON"),
                          "attend: ATTEND_CUDA=ON expected a LibTorch with its CUDA half, got")

    def test_no_toolkit(self):
        hidden = "-DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON"
        self.assert_succeeds(self.search("13.0", hidden),
                             "attend: CUDA toolkit: OFF (expected the CUDA toolkit, got none)")
        self.assert_fails(self.search("13.0", hidden, "-DATTEND_CUDA=ON"),
                          "attend: ATTEND_CUDA=ON expected the CUDA toolkit, got none")

    def test_toolkit_of_another_major_version(self):
        default = self.search("9.2")
        if "expected the CUDA toolkit" in default[1]:
            self.skipTest("no CUDA toolkit")
        self.assert_succeeds(
            default, "attend: CUDA toolkit: OFF (expected CUDA 9 as LibTorch has it, got CUDA")
        self.assert_fails(self.search("9.2", "-DATTEND_CUDA=ON"),
                          "attend: ATTEND_CUDA=ON expected CUDA 9 as LibTorch has it, got CUDA")


class AddSubdirectory(PackagingTest):
    """A project that takes attend's sources in."""

    arguments = ["-DATTEND_CUDA=OFF", "-DATTEND_TOOLKIT=OFF", "-DCMAKE_BUILD_TYPE=Debug",
                 "-DCMAKE_CXX_FLAGS_DEBUG=-O0", f"-DATTEND_KERNELS_OF={BUILD}"]
    source = SOURCE / "tests/consumer/add_subdirectory"

    def test_nothing_but_the_libraries_is_built(self):
        self.assert_succeeds(self.configure(self.source, *self.arguments))
        targets = run(cache("CMAKE_COMMAND"), "--build", self.work / "build", "--target", "help")[1]
        self.assertIn("libattend.so", targets)
        self.assertNotIn("attend_tests", targets)

    def test_consumer(self):
        # The quickest way to compile all of it once but the kernels, which are the build's. Clang, where it is installed, takes a third of GCC's time.
        compiler = ["-DCMAKE_CXX_COMPILER=clang++"] if shutil.which("clang++") else []
        self.assert_succeeds(self.configure(
            self.source, *self.arguments, "-DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON", "-DCMAKE_UNITY_BUILD=ON",
            "-DCMAKE_UNITY_BUILD_BATCH_SIZE=0", *compiler))
        build = self.work / "build"
        self.assert_succeeds(run(cache("CMAKE_COMMAND"), "--build", build, "--target", "consumer"))
        self.assert_succeeds(run(build / "consumer", cwd="/"), "output [2, 5, 64], weights [2, 8, 5, 5]")


if __name__ == "__main__":
    unittest.main()
