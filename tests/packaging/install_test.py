"""An installed attend: moved to another prefix, used by a project there, and what it exports."""

import glob
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from support import BUILD, SOURCE, PackagingTest, cache, environment, run

# A space in the path finds what is not quoted.
PREFIX = BUILD / "tests/packaging/moved prefix"
CONSUMER = SOURCE / "tests/consumer/find_package"
SEARCH = SOURCE / "tests/packaging/search"
PRINTED = "output [2, 5, 64], weights [2, 8, 5, 5]"
HAS_TOOLKIT = (BUILD / "src/libattend_toolkit.so").exists()


class Install(PackagingTest):
    """Installs for the other tests of this file."""

    def test_install_and_move(self):
        shutil.rmtree(PREFIX, ignore_errors=True)
        first = self.work / "first"
        self.assert_succeeds(run(cache("CMAKE_COMMAND"), "--install", BUILD, "--prefix", first))
        first.rename(PREFIX)


class Consume(PackagingTest):
    """A project that uses the installed attend."""

    def build_and_run(self, *arguments, env):
        self.assert_succeeds(
            self.configure(CONSUMER, f"-DCMAKE_PREFIX_PATH={PREFIX}", "-DCMAKE_BUILD_TYPE=Release",
                           f"-DCMAKE_MAKE_PROGRAM={cache('CMAKE_MAKE_PROGRAM')}", *arguments, env=env))
        build = self.work / "build"
        self.assert_succeeds(run(cache("CMAKE_COMMAND"), "--build", build, env=env))
        self.assert_succeeds(run(build / "consumer", env=env, cwd="/"), PRINTED)

    def test_consumer(self):
        self.build_and_run(env=environment())


class ConsumeWithoutCudaToolkit(Consume):
    """The same where no CUDA toolkit can be found."""

    def setUp(self):
        folders = [entry for entry in os.environ["PATH"].split(":")
                   if not (pathlib.Path(entry) / "nvcc").exists()]
        self.env = environment(PATH=":".join(folders))
        toolkits = glob.glob("/usr/local/cuda*") + glob.glob("/opt/cuda*")
        ignored = [path for toolkit in toolkits
                   for path in glob.glob(f"{toolkit}/*") + glob.glob(f"{toolkit}/targets/*/*")]
        self.arguments = ["-DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON",
                          "-DCMAKE_DISABLE_FIND_PACKAGE_CUDA=ON", f"-DCMAKE_IGNORE_PATH={';'.join(ignored)}"]

    def test_consumer(self):
        self.build_and_run(*self.arguments, env=self.env)

    def test_the_toolkit_is_hidden(self):
        torch = pathlib.Path(re.search(r"ATTEND_TORCH_BUILT_WITH \"(.*)\"", (
            PREFIX / "lib/cmake/attend/attendConfig.cmake").read_text()).group(1))
        if not (torch / "lib/libtorch_cuda.so").exists():
            self.skipTest("LibTorch was built without CUDA")
        source = self.work / "control"
        source.mkdir()
        (source / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.23)\nproject(control CXX)\nfind_package(Torch REQUIRED)\n")
        # LibTorch's own package needs the toolkit, so it must fail where ours works.
        self.assert_fails(
            self.configure(source, f"-DCMAKE_PREFIX_PATH={torch}", *self.arguments, env=self.env,
                           name="control-build"), "CUDA")


class ConsumeToolkit(PackagingTest):
    """A program that uses the toolkit, and LibTorch's scripts beside it."""

    printed = "text the dog sees the cat, script 24, allocation refused"

    @classmethod
    def setUpClass(cls):
        if not HAS_TOOLKIT:
            raise unittest.SkipTest("the toolkit was not built")
        super().setUpClass()
        cls.torch = pathlib.Path(os.environ["ATTEND_TORCH"])
        cls.ninja = f"-DCMAKE_MAKE_PROGRAM={cache('CMAKE_MAKE_PROGRAM')}"
        # Compiled once, in the project that the first test builds.
        cls.compiled = cls.work / "build/CMakeFiles/consumer.dir/main.cpp.o"

    def build_and_run(self, source, prefix, *arguments, name):
        self.assert_succeeds(self.configure(source, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Debug",
                                            self.ninja, *arguments, name=name))
        self.assert_succeeds(run(cache("CMAKE_COMMAND"), "--build", self.work / name))
        self.assert_succeeds(run(self.work / name / "consumer", cwd="/"), self.printed)

    def test_1_by_cmake(self):
        self.build_and_run(SOURCE / "tests/consumer/toolkit", PREFIX, name="build")

    def test_2_by_hand_with_installed_and_built_libraries_in_any_order(self):
        attend = ["-lattend_toolkit", "-lattend"]
        libtorch = ["-Wl,--no-as-needed", "-ltorch_cpu", "-lc10"]
        torch = self.torch / "lib"
        for folder in (PREFIX / "lib", BUILD / "src"):
            for order in (attend + libtorch, libtorch + attend):
                with self.subTest(folder=folder.name, first=order[0]):
                    program = self.work / "by-hand"
                    self.assert_succeeds(run(
                        cache("CMAKE_CXX_COMPILER"), self.compiled, "-o", program, "-L", folder, "-L", torch, *order,
                        f"-Wl,-rpath,{folder}:{torch}"))
                    self.assert_succeeds(run(program, cwd="/"), self.printed)

    def test_3_a_static_package(self):
        # The archives are made of what was compiled for the shared libraries: it is the same.
        self.assert_succeeds(self.configure(
            SOURCE, "-DBUILD_SHARED_LIBS=OFF", "-DATTEND_CUDA=OFF", "-DATTEND_BUILD_TESTS=OFF", self.ninja,
            f"-DTorch_DIR={self.torch}/share/cmake/Torch", name="static"))
        both = ["attend_detail", "attend_layer_json"]
        for library, parts in (("attend", ["attend", *both, "attend_kernels"]),
                               ("attend_toolkit", ["attend_toolkit", *both, "attend_drawing"])):
            objects = [path for part in parts for path in (BUILD / f"src/CMakeFiles/{part}.dir").rglob("*.o")]
            self.assert_succeeds(run("ar", "rcs", self.work / f"static/src/lib{library}.a", *objects))
        prefix = self.work / "static prefix"
        for component in ("core", "toolkit"):
            self.assert_succeeds(run(cache("CMAKE_COMMAND"), "--install", self.work / "static", "--prefix", prefix,
                                     "--component", component))
        source = self.work / "static-consumer"
        source.mkdir()
        (source / "CMakeLists.txt").write_text(f"""
            cmake_minimum_required(VERSION 3.23)
            project(consumer CXX)
            find_package(attend REQUIRED COMPONENTS toolkit)
            add_executable(consumer "{self.compiled}")
            set_target_properties(consumer PROPERTIES LINKER_LANGUAGE CXX)
            target_link_libraries(consumer PRIVATE attend::toolkit)""")
        self.build_and_run(source, prefix, name="static-build")
        flags = subprocess.run(["nm", "-D", "--defined-only", self.work / "static-build/consumer"], check=True,
                               stdout=subprocess.PIPE, text=True).stdout
        self.assertNotIn("FLAGS_", flags)


class Components(PackagingTest):
    """What `cmake --install` does where not all was built."""

    def test_of_a_build_with_the_core_alone(self):
        self.assert_succeeds(self.configure(SOURCE, "-DATTEND_CUDA=OFF", "-DATTEND_BUILD_TESTS=OFF",
                                            f"-DCMAKE_MAKE_PROGRAM={cache('CMAKE_MAKE_PROGRAM')}",
                                            f"-DTorch_DIR={os.environ['ATTEND_TORCH']}/share/cmake/Torch"))
        build, prefix = self.work / "build", self.work / "prefix"
        install = [cache("CMAKE_COMMAND"), "--install", build, "--prefix", prefix]
        core = build / "src/libattend.so"
        self.assert_fails(run(*install), f"attend: expected what is to be installed to be built, got no {core}",
                          "(component core)", f"Build it (cmake --build {build}), or install one component")
        self.assertFalse(prefix.exists(), "it installed a part")

        for path in (BUILD / "src").glob("libattend.so*"):
            shutil.copy2(path, build / "src", follow_symlinks=False)
        if HAS_TOOLKIT:
            self.assert_fails(run(*install), f"got no {build}/src/libattend_toolkit.so",
                              "(component toolkit)", "--component core | toolkit")
            self.assertFalse(prefix.exists(), "it installed a part")
        self.assert_succeeds(run(*install, "--component", "core"))
        self.assertFalse((prefix / "include/attend/text").exists())
        for wanted, said in (("0.1", "attend_FOUND: 1"),
                             ("COMPONENTS;toolkit", "attend_FOUND: 0 attend: expected the component toolkit")):
            self.assert_succeeds(self.configure(
                SEARCH, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DFIND_ATTEND={wanted}", name="search"), said)

    def test_components_together_are_all_of_it(self):
        prefix = self.work / "together"
        for component in ("core", "toolkit", "programs"):
            self.assert_succeeds(run(cache("CMAKE_COMMAND"), "--install", BUILD, "--prefix", prefix,
                                     "--component", component))
        files = [{path.relative_to(root).as_posix() for path in root.rglob("*")} for root in (prefix, PREFIX)]
        self.assertEqual(*files)


class Package(PackagingTest):
    """The CMake package and the programs of the installed attend."""

    def find(self, *arguments, **variables):
        return self.configure(SEARCH, f"-DCMAKE_PREFIX_PATH={PREFIX}", *arguments,
                              env=environment(**variables))

    def test_components(self):
        self.assert_succeeds(self.find("-DFIND_ATTEND=0.1"), "attend_FOUND: 1")
        asked = "-DFIND_ATTEND=COMPONENTS;toolkit"
        if HAS_TOOLKIT:
            self.assert_succeeds(self.find(asked), "attend_FOUND: 1")
        else:
            self.assert_succeeds(self.find(asked), "attend_FOUND: 0 ",
                                 "expected the component toolkit, got an attend that was built without it")
            self.assert_fails(self.find(asked + ";REQUIRED"), "expected the component toolkit, got")
        self.assert_fails(self.find("-DFIND_ATTEND=REQUIRED;COMPONENTS;nonsense"),
                          "attend: expected the component toolkit, got nonsense")

    def test_another_version(self):
        for version in ("0.0.9", "0.2", "1.0"):
            with self.subTest(version=version):
                self.assert_succeeds(self.find(f"-DFIND_ATTEND={version}"), "attend_FOUND: 0")

    def test_another_libtorch(self):
        torch = self.work / "torch"
        config = torch / "share/cmake/Torch"
        config.mkdir(parents=True)
        (config / "TorchConfig.cmake").touch()
        (config / "TorchConfigVersion.cmake").write_text('set(PACKAGE_VERSION "2.99.0")\n')
        said = ("attend: expected LibTorch ", f"which attend was built with, got '2.99.0' in {torch}")
        named = f"-DTorch_DIR={config}"
        self.assert_succeeds(self.find("-DFIND_ATTEND=0.1", named), "attend_FOUND: 0 ", *said)
        self.assert_fails(self.find("-DFIND_ATTEND=REQUIRED", named), *said)

    def test_no_file_names_the_build_or_the_prefix(self):
        for path in PREFIX.rglob("*"):
            if path.is_file() and path.suffix in (".cmake", ".h"):
                text = path.read_text()
                # LibTorch may lie below the source tree; where it lies is the last resort of the search.
                text = re.sub(r'set\(ATTEND_TORCH_BUILT_WITH .*\)', "", text)
                self.assertNotIn(str(BUILD), text, path)
                self.assertNotIn(str(SOURCE), text, path)

    def test_every_header_is_installed(self):
        rooms = [room for room in (SOURCE / "include/attend").iterdir() if room.is_dir()]
        toolkit = {"text", "data", "translation", "training", "viz"}
        expected = {path.relative_to(SOURCE / "include").as_posix() for room in rooms
                    if HAS_TOOLKIT or room.name not in toolkit for path in room.rglob("*.h")}
        expected |= {f"attend/{path.name}" for path in (SOURCE / "include/attend").glob("*.h")}
        expected |= {"attend/export.h"} | (
            {"attend/toolkit_export.h"} if HAS_TOOLKIT else set())
        installed = {path.relative_to(PREFIX / "include").as_posix()
                     for path in (PREFIX / "include").rglob("*") if path.is_file()}
        self.assertEqual(installed, expected)

    def test_programs_have_their_manual_and_completions(self):
        programs = [path.name for path in PREFIX.glob("bin/*")]
        for name in programs:
            for path in (f"man/man1/{name}.1", f"bash-completion/completions/{name}",
                         f"zsh/site-functions/_{name}", f"fish/vendor_completions.d/{name}.fish"):
                self.assertIn(name, (PREFIX / "share" / path).read_text().replace("\\-", "-"), path)
        if programs:
            self.assertTrue((PREFIX / "share/man/man1/attend-seq2seq-translate.1").exists())

    def test_programs_run_from_the_new_place(self):
        for program in PREFIX.glob("bin/*"):
            with self.subTest(program=program.name):
                # The launcher itself prints the help; the version is the program's.
                for flag in ("--help", "--version"):
                    self.assert_succeeds(run(program, flag, env=environment(LD_LIBRARY_PATH=None), cwd="/"))


class Symbols(unittest.TestCase):
    """What the shared libraries export is what the headers declare so."""

    def check(self, library, *macros):
        path = BUILD / "src" / library
        if not path.exists():
            self.skipTest(f"{library} was not built")
        symbols = subprocess.run(["nm", "-D", "--defined-only", "--demangle", path], check=True,
                                 stdout=subprocess.PIPE, text=True).stdout
        declared = set()
        for header in [*SOURCE.glob("include/**/*.h"), *SOURCE.glob("src/**/*.h")]:
            text = header.read_text()
            # GCC exports the type information of enumerations; they take no attribute for it.
            declared |= set(re.findall(r"\benum class (\w+)", text))
            for macro in macros:
                declared |= set(re.findall(rf"\b(?:class|struct)\s+{macro}\s+(\w+)", text))
                declared |= set(re.findall(rf"\b{macro}\s[^;{{(]*?(operator[^\s\w]+|\w+)\s*\(", text))
                declared |= set(re.findall(rf"\b{macro}\s[^;{{(]*?(\w+)\s*;", text))
        found = 0
        for line in symbols.splitlines():
            name = line.split(maxsplit=2)[2]
            name = re.sub(r"^(vtable|typeinfo|typeinfo name|VTT|guard variable|construction vtable) for ", "", name)
            name = re.sub(r"^(non-)?virtual thunk to ", "", name)
            match = re.match(r"attend::((?:\w+::)*?)(?:functional::|detail::)?(operator[^\s\w(]+|\w+)", name)
            # A function of another library's, instantiated for a type of attend's that it returns.
            if not match or re.search(r"\s(torch|c10|at|std)::", name.split("(")[0]):
                continue
            found += 1
            names = set(re.findall(r"operator[^\s\w(]+|\w+", name.split("(")[0]))
            self.assertTrue(names & declared, f"{library} exports a name that its headers do not: {name}")
        self.assertGreater(found, 0, "no symbol of attend at all: the check itself is broken")

    def test_core(self):
        self.check("libattend.so", "ATTEND_API")

    def test_toolkit(self):
        # It also exports what is inline of the core's classes.
        self.check("libattend_toolkit.so", "ATTEND_API", "ATTEND_TOOLKIT_API")


if __name__ == "__main__":
    unittest.main()
