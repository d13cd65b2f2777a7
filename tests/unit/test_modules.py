# SPDX-License-Identifier: MIT
"""Which modules, in what order; and that threads load them in that order, side by side where they may."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootfall import modules
from rootfall.linux import libc
from rootfall.timeline import Timeline

LIMIT = 20.0  # seconds; nothing here takes one

DEP = """\
kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko kernel/lib/crc16.ko
kernel/fs/jbd2/jbd2.ko:
kernel/fs/mbcache.ko:
kernel/lib/crc16.ko:
kernel/drivers/virtio/virtio-pci.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
kernel/arch/crc32c-intel.ko:
kernel/arch/crc32c_generic.ko:
kernel/arch/sha256-ssse3.ko:
kernel/a.ko:
kernel/b.ko:
"""
SOFTDEP = """\
# a comment
softdep ext4 pre: crc32c
softdep a pre: b
softdep b pre: a post: virtio-pci
softdep a post: crc16
softdep empty
"""
ALIAS = """\
alias crc32c crc32c_generic
alias crc32c crc32c-intel
alias fs-ext4 ext4
alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
alias gone not-in-the-image
"""


def index() -> modules.Index:
    return modules.parse_index(DEP, SOFTDEP, ALIAS)


def test_files_and_names_are_read_with_underscores() -> None:
    module = index().modules["virtio_pci"]
    assert module == ("virtio_pci", "kernel/drivers/virtio/virtio-pci.ko", ("virtio",))


def test_several_softdep_lines_of_a_module_add_up() -> None:
    found = modules.parse_index("", "softdep a pre: x y post: z\nsoftdep a post: w\nsoftdep a pre: v\n")
    assert found.before["a"] == ("x", "y", "v")
    assert found.after["a"] == ("z", "w")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("virtio-pci", ("virtio_pci",)),
        ("crc32c", ("crc32c_generic", "crc32c_intel")),
        ("fs-ext4", ("ext4",)),
        ("gone", ()),
        ("built_in", ()),
        ("pci:v00001AF4d*sv*sd*bc*sc*i*", ()),
    ],
)
def test_a_name_or_an_exact_alias_stands_for_modules(name: str, expected: tuple[str, ...]) -> None:
    assert modules.resolve(index(), name) == expected


def test_what_is_needed_comes_first_and_the_hashes_before_all() -> None:
    order = modules.closure(index(), ("ext4",))
    assert list(order) == ["sha256_ssse3", "jbd2", "mbcache", "crc16", "crc32c_generic", "crc32c_intel", "ext4"]
    assert order["sha256_ssse3"] == ()
    assert set(order["ext4"]) == set(order) - {"ext4"}
    assert order["jbd2"] == ("sha256_ssse3",)


def test_soft_dependencies_in_a_circle_are_cut() -> None:
    order = modules.closure(index(), ("a",))
    assert set(order) == {"sha256_ssse3", "a", "b", "virtio_pci", "virtio", "crc16"}
    assert order["a"] == ("sha256_ssse3", "b")
    assert order["b"] == ("sha256_ssse3",)
    assert "b" not in order["virtio_pci"], "what comes after b does not wait for it: it is merely loaded too"


def test_names_that_the_image_does_not_hold_are_passed_over() -> None:
    assert list(modules.closure(index(), ("built_in", "gone", "crc16"))) == ["sha256_ssse3", "crc16"]
    assert modules.closure(modules.parse_index(""), ("ext4",)) == {}


NAMES = st.sampled_from("abcdefgh")
GRAPHS = st.dictionaries(NAMES, st.lists(NAMES, max_size=4), min_size=1)


@given(GRAPHS, GRAPHS, GRAPHS, st.lists(NAMES, max_size=4))
def test_any_graph_gives_an_order_that_loads(
    hard: dict[str, list[str]], pre: dict[str, list[str]], post: dict[str, list[str]], wanted: list[str]
) -> None:
    dep = "".join(
        f"kernel/{name}.ko: {' '.join(f'kernel/{each}.ko' for each in needs)}\n" for name, needs in hard.items()
    )
    soft = "".join(f"softdep {name} pre: {' '.join(each)}\n" for name, each in pre.items() if each)
    soft += "".join(f"softdep {name} post: {' '.join(each)}\n" for name, each in post.items() if each)
    order = modules.closure(modules.parse_index(dep, soft), tuple(wanted))
    done: set[str] = set()
    for name, needs in order.items():
        assert set(needs) <= done
        done.add(name)
    assert {name for name in wanted if name in hard} <= done <= set(hard)


class FakeKernel:
    """finit_module(2) that keeps each call waiting until the test lets it go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.held: set[str] = set()
        self.answers: dict[str, OSError | Exception] = {}
        self._changed = threading.Condition()

    def finit_module(self, fd: int, parameters: str) -> None:
        name = modules.module_name(str(Path(f"/proc/self/fd/{fd}").readlink()))
        with self._changed:
            self.asked.append(name)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: name not in self.held, LIMIT)
        if name in self.answers:
            raise self.answers[name]

    def until(self, *names: str) -> None:
        """Until the kernel has been asked for these."""
        with self._changed:
            assert self._changed.wait_for(lambda: set(names) <= set(self.asked), LIMIT), self.asked

    def let_go(self, name: str) -> None:
        with self._changed:
            self.held.discard(name)
            self._changed.notify_all()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    fake = FakeKernel()
    monkeypatch.setattr(libc, "finit_module", fake.finit_module)
    return fake


def loader(directory: Path, needs: dict[str, str], options: dict[str, str] | None = None) -> modules.Loader:
    """For an image with these modules: each with what it needs."""
    for name in needs:
        (directory / f"{name}.ko").write_bytes(bytes(len(name)))
    lines = [f"{name}.ko: {' '.join(f'{each}.ko' for each in need.split())}\n" for name, need in needs.items()]
    (directory / "modules.dep").write_text("".join(lines))
    return modules.Loader(str(directory), Timeline(), options or {}, ("blacklisted",))


def start(directory: Path, **needs: str) -> modules.Loader:
    """Load all of these."""
    made = loader(directory, needs)
    made.request(needs)
    return made


def test_independent_modules_are_in_the_kernel_at_the_same_time(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.held = {"a", "b", "c"}
    loading = start(tmp_path, first="", a="", b="", c="")
    kernel.until("a", "b", "c")
    assert not loading.wait_for(loading.pending, 0)
    for name in "abc":
        kernel.let_go(name)
    assert loading.wait_for("abcdefgh", LIMIT)
    assert loading.failed == {}


def test_the_very_first_module_is_alone_in_the_kernel(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.held = {"first"}
    loading = start(tmp_path, first="", a="", b="")
    kernel.until("first")
    assert not loading.wait_for(("a", "b"), 0)
    assert kernel.asked == ["first"]
    kernel.let_go("first")
    assert loading.wait_for(loading.pending, LIMIT)


def test_a_module_waits_for_all_that_it_needs(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.held = {"a", "b"}
    loading = start(tmp_path, first="", a="", b="", top="a b", side="a", last="top")
    kernel.until("a", "b")
    kernel.let_go("a")
    kernel.until("side")
    assert not {"top", "last"} & set(kernel.asked)
    kernel.let_go("b")
    assert loading.wait_for(loading.pending, LIMIT)
    assert kernel.asked.index("top") < kernel.asked.index("last")
    assert sorted(kernel.asked) == ["a", "b", "first", "last", "side", "top"]


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (OSError(8, "Exec format error"), {"a": "failed: Exec format error (errno 8)"}),
        (RuntimeError("a bug"), {"a": "failed: RuntimeError('a bug')"}),
        (OSError(17, "File exists"), {}),
        (OSError(19, "No such device"), {}),
    ],
)
def test_a_module_that_fails_is_recorded_and_holds_nobody_up(
    kernel: FakeKernel, tmp_path: Path, answer: Exception, failed: dict[str, str]
) -> None:
    kernel.answers["a"] = answer
    loading = start(tmp_path, a="", b="a", c="b")
    assert loading.wait_for("abcdefgh", LIMIT)
    assert loading.failed == failed
    assert kernel.asked == ["a", "b", "c"]


def test_a_module_without_its_file_is_recorded(kernel: FakeKernel, tmp_path: Path) -> None:
    made = loader(tmp_path, {"a": ""})
    (tmp_path / "a.ko").unlink()
    made.request(("a",))
    assert made.wait_for(("a",), LIMIT)
    assert made.failed == {"a": "failed: No such file or directory (errno 2)"}


def test_without_threads_the_modules_are_loaded_all_the_same(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(function: object, arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(modules._thread, "start_new_thread", none)  # type: ignore[attr-defined]
    assert start(tmp_path, a="", b="", c="a", d="a", e="c d").pending == ()
    assert sorted(kernel.asked) == ["a", "b", "c", "d", "e"]


def test_nothing_to_load_is_done_at_once(tmp_path: Path) -> None:
    assert start(tmp_path).wait_for(("a", "never heard of"), 0)


def test_a_module_is_asked_of_the_kernel_once(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.held = {"a"}
    made = loader(tmp_path, {"a": "", "b": "a", "c": "a b"})
    assert made.request(("b",)) == ("a", "b")
    kernel.until("a")
    assert made.request(("c", "b")) == ("c",)
    assert made.request(("a", "nonsense")) == ()
    kernel.let_go("a")
    assert made.wait_for("abc", LIMIT)
    assert made.request(("c",)) == ()
    assert kernel.asked == ["a", "b", "c"]
    assert made.finished == 3


def test_a_wait_that_was_given_up_harms_nobody(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.held = {"a"}
    made = start(tmp_path, first="", a="", b="")
    assert not made.wait_for("a", 0)
    assert made.wait_for("b", LIMIT)
    kernel.let_go("a")
    assert made.wait_for("ab", LIMIT)


def test_parameters_reach_their_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = {}

    def finit_module(fd: int, parameters: str) -> None:
        given[modules.module_name(str(Path(f"/proc/self/fd/{fd}").readlink()))] = parameters

    monkeypatch.setattr(libc, "finit_module", finit_module)
    made = loader(tmp_path, {"a": "", "b": ""}, {"a": "x=1 y"})
    made.request(("a", "b"))
    assert made.wait_for("ab", LIMIT)
    assert given == {"a": "x=1 y", "b": ""}


def test_the_cheapest_driver_of_the_hardware_comes_first_one_chain_at_a_time(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    (tmp_path / "modules.alias").write_text(
        "alias pci:v1* large_driver\nalias pci:v2* small\nalias pci:v3* blacklisted\nalias pci:v4* not_in_the_image\n"
    )
    kernel.held = {"small", "large_driver"}
    made = loader(tmp_path, {"small": "base", "base": "", "large_driver": "", "blacklisted": ""})
    for modalias in ("pci:v1x", "pci:v2x", "pci:v2x", "pci:v3x", "usb:v1"):
        made.offer(modalias)
    assert made.load_cheapest() == ("base", "small")
    assert made.load_cheapest() == (), "half of the processors are busy"
    kernel.until("small")
    kernel.let_go("small")
    assert made.wait_for(("small",), LIMIT)
    assert os.eventfd_read(made.wake_fd) == 1
    assert made.load_cheapest() == ("large_driver",)
    kernel.let_go("large_driver")
    assert made.wait_for(("large_driver",), LIMIT)
    assert made.load_cheapest() == ()
    assert "blacklisted" not in kernel.asked


def test_an_alias_of_a_module_that_is_not_there_stands_in_nobodys_way(kernel: FakeKernel, tmp_path: Path) -> None:
    (tmp_path / "modules.alias").write_text("alias pci:v1* not_there\nalias pci:v1* there\n")
    made = loader(tmp_path, {"there": ""})
    made.offer("pci:v1x")
    assert [made.load_cheapest(), made.load_cheapest()] == [(), ("there",)]
    assert made.wait_for(("there",), LIMIT)


def test_the_ready_form_of_the_index_is_the_index(tmp_path: Path) -> None:
    texts = [DEP.encode(), SOFTDEP.encode(), ALIAS.encode()]
    for name, text in zip(modules.INDEX_FILES, texts, strict=True):
        (tmp_path / name).write_bytes(text)
    parsed = modules.read_index(str(tmp_path))
    (tmp_path / modules.READY).write_bytes(modules.ready_index(texts))
    assert modules.read_index(str(tmp_path)) == parsed == index()
    (tmp_path / "modules.dep").write_text("kernel/b.ko:\n")
    assert set(modules.read_index(str(tmp_path)).modules) == {"b"}, "a ready form of another text is not used"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(0, 11), max_size=4), min_size=1, max_size=12), st.integers(1, 4))
def test_any_order_is_kept(tmp_path_factory: pytest.TempPathFactory, needs: list[set[int]], parts: int) -> None:
    """Real threads over a random graph: nothing is asked for before all that it needs has been answered."""
    names = [f"m{number}" for number in range(len(needs))]
    order = {names[i]: " ".join(names[each] for each in sorted(need) if each < i) for i, need in enumerate(needs)}
    answered: list[str] = []

    def insert(directory: str, module: modules.Module, parameters: str = "") -> str:
        assert set(module.requires) <= set(answered)
        answered.append(module.name)
        return "loaded"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modules, "insert", insert)
        made = loader(tmp_path_factory.mktemp("modules"), order)
        for part in range(parts):
            made.request(names[part::parts])
        assert made.wait_for(names, LIMIT)
        assert made.failed == {}
    assert sorted(answered) == sorted(names)
