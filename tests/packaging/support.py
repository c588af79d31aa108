"""What the packaging tests share: where the build is, and how to run CMake."""

import os
import pathlib
import re
import shutil
import subprocess
import unittest

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
# The build that the tests belong to; CTest names it.
BUILD = pathlib.Path(os.environ.get("ATTEND_BUILD_DIR", SOURCE / "build/release"))

CUDA_VARIABLES = ("CUDACXX", "CUDA_PATH", "CUDA_HOME", "CUDA_ROOT", "CUDA_BIN_PATH", "CUDAToolkit_ROOT")


def cache(name):
    """An entry of the build's CMake cache; empty where it has none."""
    match = re.search(rf"^{name}:[A-Z]*=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.MULTILINE)
    return match.group(1) if match else ""


def environment(**changes):
    """The environment without what could name a LibTorch or a CUDA toolkit; a None removes."""
    result = {k: v for k, v in os.environ.items() if k not in CUDA_VARIABLES}
    for name in ("Torch_DIR", "CMAKE_PREFIX_PATH", "CMAKE_GENERATOR", "DESTDIR"):
        result.pop(name, None)
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = str(value)
    return result


def run(*command, env=None, cwd=None):
    """Runs a command; returns its exit status and all that it printed, one space for each blank."""
    done = subprocess.run(
        [str(part) for part in command], env=env or environment(), cwd=cwd, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    # CMake wraps its messages, so that a phrase may be broken anywhere.
    return done.returncode, re.sub(r"\s+", " ", done.stdout)


class PackagingTest(unittest.TestCase):
    """A test with an empty folder of its own, below the build."""

    @classmethod
    def setUpClass(cls):
        cls.work = BUILD / "tests/packaging/work" / cls.__name__
        shutil.rmtree(cls.work, ignore_errors=True)
        cls.work.mkdir(parents=True)

    def configure(self, source, *arguments, env=None, name="build"):
        """Configures `source` in an empty folder with the generator and compiler of the build."""
        build = self.work / name
        shutil.rmtree(build, ignore_errors=True)
        compiler = [f"-DCMAKE_CXX_COMPILER={cache('CMAKE_CXX_COMPILER')}"]
        return run(cache("CMAKE_COMMAND"), "-G", cache("CMAKE_GENERATOR"), "-S", source, "-B", build,
                   *compiler, *arguments, env=env)

    def assert_succeeds(self, result, *phrases):
        status, text = result
        self.assertEqual(status, 0, text)
        self.assert_says(text, *phrases)

    def assert_fails(self, result, *phrases):
        status, text = result
        self.assertNotEqual(status, 0, text)
        self.assert_says(text, *phrases)

    def assert_says(self, text, *phrases):
        for phrase in phrases:
            self.assertIn(re.sub(r"\s+", " ", str(phrase)), text)
