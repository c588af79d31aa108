"""Each symbol of a program has one definition: no two of its libraries export the same one.

The loader gives all libraries of a program the same object for a name, the first one's. Where two
libraries mean different things by it, one writes over the other's memory.
"""

import collections
import os
import pathlib
import re
import subprocess
import unittest

from support import BUILD, cache, environment, run

TOOLKIT = BUILD / "src/libattend_toolkit.so"
TORCH = pathlib.Path(os.environ["ATTEND_TORCH"]) / "lib"
PROGRAMS = [BUILD / "apps/libexec/attend" / name for name in ("attend-seq2seq-program", "attend-tour-program", "attend-visualize-program")]

RUNTIME = r"lib(c|m|dl|rt|util|pthread|gcc_s|stdc\+\+)\.so|ld-linux"
# The same symbol in several of a program's libraries that does no harm, and why.
HARMLESS = [
    ("the linker's marks and the start code of each object", r".*",
     r"__bss_start|_edata|_end|_init|_fini"),
    ("parts of one C library, whose versions tell them apart", RUNTIME, r".*"),
    ("LibTorch holds parts of libstdc++ that older systems lack", RUNTIME + r"|LibTorch", r"_Z\w*(St|__gnu_)\w*"),
    ("cpp-httplib holds parts of libstdc++ that others have too, and std::regex's states",
     RUNTIME + r"|LibTorch|libattend|attend-\w+-program|libcpp-httplib\.so", r"_Z\w*(St|__gnu_)\w*|_ZT[IS]P?FviE"),
    ("the program's allocator, which is to take the place of all others", RUNTIME + r"|libjemalloc\.so|LibTorch",
     r"\w*alloc\w*|posix_memalign|memalign|free|_Z(n|d)[wal]\w*"),
    ("libbsd brings to other systems what is in these two", RUNTIME + r"|lib(bsd|md)\.so", r".*"),
    ("within LibTorch", r"LibTorch", r".*"),
]
TORCH_LIBRARIES = re.compile(r"/(torch|nvidia|libtorch)/(.*/)?lib/")


def libraries(file):
    """What the loader maps for a program or a library: itself, then all it needs."""
    listed = subprocess.run(["ldd", file], check=True, stdout=subprocess.PIPE, text=True,
                            env=environment(LD_LIBRARY_PATH=TORCH)).stdout  # a library does not say where it is
    return [pathlib.Path(file)] + [pathlib.Path(path) for path in re.findall(r"=> (/\S+)", listed)]


def owner(library):
    """The library's name; that of LibTorch for all that belongs to it."""
    return "LibTorch" if TORCH_LIBRARIES.search(f"{library}") else library.name


def exported(library):
    """Name and kind of each symbol that a library exports; nm's letters, W, V and u for the weak ones."""
    listed = subprocess.run(["nm", "-D", "--defined-only", library], check=True, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True).stdout
    for line in listed.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] != "A":
            yield fields[2].partition("@")[0], fields[1]


def shared(file):
    """The symbols that two libraries of `file` export and that not all of them leave to the others."""
    owners = collections.defaultdict(dict)
    for library in libraries(file):
        for name, kind in exported(library):
            owners[name][library] = kind
    return {name: found for name, found in owners.items()
            if len(found) > 1 and not all(kind in "WVu" for kind in found.values())}


def reason(name, found):
    """Why a shared symbol does no harm; None where it may."""
    names = {owner(library) for library in found}
    for why, of, pattern in HARMLESS:
        if re.fullmatch(pattern, name) and all(re.match(of, library) for library in names):
            return why
    return None


class OneDefinition(unittest.TestCase):

    def test_no_two_libraries_export_one_symbol(self):
        for program in filter(pathlib.Path.exists, [*PROGRAMS, TOOLKIT]):
            with self.subTest(program=program.name):
                harmful = [f"{name} of {sorted(owner(library) for library in found)}"
                           for name, found in shared(program).items() if not reason(name, found)]
                self.assertEqual(harmful, [])

    def test_the_check_sees_what_it_looks_for(self):
        # Both are in every program: two allocators, and what LibTorch and the C library share.
        program = next(filter(pathlib.Path.exists, PROGRAMS), None)
        if program is None:
            self.skipTest("no program was built")
        self.assertGreater(len(shared(program)), 0)
        self.assertIsNone(reason("FLAGS_minloglevel", {pathlib.Path("/x/torch/lib/libc10.so"): "B",
                                                       pathlib.Path("/usr/lib/libsentencepiece.so.0"): "B"}))

    def test_the_toolkit_exports_nothing_of_sentencepiece(self):
        if not TOOLKIT.exists():
            self.skipTest("the toolkit was not built")
        foreign = [name for name, _ in exported(TOOLKIT)
                   if re.search(r"FLAGS_|sentencepiece|protobuf|attend_(absl|google|Darts)", name)]
        self.assertEqual(foreign, [])


class Bindings(unittest.TestCase):
    """Which object the loader gives to whom."""

    def test_libtorch_alone_binds_to_its_flags(self):
        for program in filter(pathlib.Path.exists, PROGRAMS):
            with self.subTest(program=program.name):
                done = subprocess.run([program, "--help"], env=environment(LD_DEBUG="bindings"), check=True,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                bound = re.findall(r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: normal symbol `(FLAGS_\w+)'",
                                   done.stderr)
                self.assertIn("FLAGS_minloglevel", {name for _, _, name in bound}, "the check itself is broken")
                for user, provider, name in bound:
                    self.assertRegex(user, TORCH_LIBRARIES, name)
                    self.assertRegex(provider, TORCH_LIBRARIES, name)


class SentencePiece(unittest.TestCase):
    """The static library that the toolkit is linked with."""

    def setUp(self):
        self.archive = pathlib.Path(os.environ.get("ATTEND_SENTENCEPIECE", "")) / "lib/libattend_sentencepiece.a"
        if not self.archive.exists():
            self.skipTest("no SentencePiece of attend's own")

    def test_its_names_are_its_own(self):
        listed = subprocess.run(["nm", "-C", "--defined-only", self.archive], check=True,
                                stdout=subprocess.PIPE, text=True).stdout
        names = re.findall(r"^[0-9a-f]+ [A-Zu] (.+)$", listed, re.MULTILINE)
        self.assertGreater(len(names), 500, "the check itself is broken")
        for name in names:
            # What is instantiated of the standard library is the same in every program.
            self.assertRegex(name, r"attend_|\bstd::|\b__gnu_cxx::|^DW\.ref\.|^__\w+$")

    def test_a_program_with_all_of_it_leaves_libtorchs_flags_alone(self):
        work = BUILD / "tests/packaging/work/SentencePiece"
        work.mkdir(parents=True, exist_ok=True)
        (work / "main.cpp").write_text('''
            #include <sentencepiece_processor.h>
            extern int FLAGS_minloglevel;                    // libc10.so's
            extern bool FLAGS_caffe2_use_fatal_for_enforce;  // beside it in memory
            int main() {
              const int before = FLAGS_minloglevel;
              sentencepiece::SetMinLogLevel(7);
              return FLAGS_caffe2_use_fatal_for_enforce || FLAGS_minloglevel != before;
            }''')
        compiler = [cache("CMAKE_CXX_COMPILER"), "-std=c++17", work / "main.cpp", "-I", self.archive.parent.parent / "include"]
        sentencepiece = ["-Wl,--whole-archive", self.archive, "-Wl,--no-whole-archive", "-pthread"]
        libtorch = ["-L", TORCH, f"-Wl,-rpath,{TORCH}", "-Wl,--no-as-needed", "-lc10"]
        for order in (sentencepiece + libtorch, libtorch + sentencepiece):
            status, text = run(*compiler, *order, "-o", work / "program")
            self.assertEqual(status, 0, text)
            self.assertEqual(run(work / "program"), (0, ""))
            flags = {name for name, _ in exported(work / "program") if "FLAGS" in name}
            self.assertLessEqual(flags, {"FLAGS_minloglevel", "FLAGS_caffe2_use_fatal_for_enforce"})


if __name__ == "__main__":
    unittest.main()
