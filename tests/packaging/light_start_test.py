"""Programs start with the CPU half of LibTorch, and have CUDA where they ask for it."""

import os
import pathlib
import re
import subprocess
import unittest

from support import BUILD, SOURCE, PackagingTest, cache, environment, run

PREFIX = BUILD / "tests/packaging/moved prefix"
TORCH = pathlib.Path(os.environ["ATTEND_TORCH"])
HAS_CUDA = (TORCH / "lib/libtorch_cuda.so").exists()
# What libtorch_cpu.so itself links of CUDA's.
OF_THE_CPU_HALF = {"libcudart", "libcupti"}


def cuda_libraries(program):
    """The libraries of CUDA's that the loader maps at the program's start, without their versions."""
    listed = subprocess.run(["ldd", program], check=True, stdout=subprocess.PIPE, text=True,
                            env=environment()).stdout
    names = set(re.findall(r"(lib[\w+-]+)\.so", listed))
    return {name for name in names
            if name == "libtorch" or re.match(r"lib(torch_|c10_)?(cu|nv|nccl)", name)}


def printed(*command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True,
                          env=environment()).stdout


class Programs(PackagingTest):
    """The programs of attend, and the launchers by which they are started."""

    def programs(self, folder="libexec/attend"):
        found = [path for path in (BUILD / "apps").glob(f"{folder}/attend-*") if path.is_file()]
        if not found:
            self.skipTest("the programs were not built")
        return found

    def test_the_cpu_half_is_all_they_load(self):
        for program in self.programs():
            with self.subTest(program=program.name):
                self.assertLessEqual(cuda_libraries(program), OF_THE_CPU_HALF)

    def test_help_needs_no_libtorch(self):
        for launcher in self.programs("[!l]*"):
            with self.subTest(launcher=launcher.name):
                listed = subprocess.run(["ldd", launcher], check=True, stdout=subprocess.PIPE, text=True).stdout
                self.assertNotRegex(listed, r"torch|libc10|libattend")
                program = BUILD / "apps/libexec/attend" / f"{launcher.name}-program"
                overview = printed(program, "--help")
                subcommands = re.findall(r"^  (\w+) ", overview.partition("\nSubcommands:\n")[2], re.MULTILINE)
                self.assertEqual(bool(subcommands), launcher.name == "attend-seq2seq")
                alone = self.work / launcher.name  # where it finds no program
                alone.write_bytes(launcher.read_bytes())
                alone.chmod(0o755)
                for subcommand in ([], *([name] for name in subcommands)):
                    for flag in ("--help", "-h"):
                        self.assertEqual(printed(alone, *subcommand, flag), printed(program, *subcommand, flag))
                self.assert_fails(run(alone, "--version"), f"{launcher.name}: expected the program at ")

    def test_an_installation_without_the_cuda_half_is_named(self):
        # What scripts/setup installs where there is no driver, in links. The loader asks LD_LIBRARY_PATH first.
        libraries = self.work / "site-packages/torch/lib"
        libraries.mkdir(parents=True)
        for name in ("libtorch_cpu.so", "libc10.so", "libgomp.so.1"):
            if (TORCH / "lib" / name).exists():
                (libraries / name).symlink_to(TORCH / "lib" / name)
        if (TORCH.parent / "nvidia").exists():
            (self.work / "site-packages/nvidia").symlink_to(TORCH.parent / "nvidia")
        translate = [path for path in self.programs() if path.name == "attend-seq2seq-program"]
        self.assert_fails(run(translate[0], "translate", "-m", self.work, "--device", "cuda",
                              env=environment(LD_LIBRARY_PATH=libraries)),
                          f"expected the CUDA half of LibTorch in {libraries}/libtorch_cuda.so (scripts/setup "
                          "--with-cuda installs it), got: ")


class Consumer(PackagingTest):
    """A program that links an installed attend."""

    def test_it_has_cuda_where_it_asks_for_it(self):
        if not HAS_CUDA:
            self.skipTest("a LibTorch without its CUDA half")
        self.assert_succeeds(self.configure(
            SOURCE / "tests/consumer/cuda", f"-DCMAKE_PREFIX_PATH={PREFIX}", "-DCMAKE_BUILD_TYPE=Debug",
            f"-DCMAKE_MAKE_PROGRAM={cache('CMAKE_MAKE_PROGRAM')}"))
        build = self.work / "build"
        self.assert_succeeds(run(cache("CMAKE_COMMAND"), "--build", build))
        self.assertLessEqual(cuda_libraries(build / "cpu_half"), OF_THE_CPU_HALF)
        self.assert_succeeds(run(build / "cpu_half"), "no CUDA")
        self.assert_succeeds(run(build / "cpu_half", "load", "load"), "CUDA 1")
        self.assert_fails(run(build / "cpu_half", "ask", "load"),
                          "load_cuda: expected to be called before LibTorch is asked about CUDA, got")
        for whole in ("cuda_half", "whole"):
            with self.subTest(program=whole):
                self.assertIn("libtorch_cuda", cuda_libraries(build / whole))
                self.assert_succeeds(run(build / whole), "CUDA 1")
                self.assert_succeeds(run(build / whole, "ask", "load"), "CUDA 1")


if __name__ == "__main__":
    unittest.main()
