# SPDX-License-Identifier: MIT
"""Kernel modules are chosen as modprobe would, from trees made here, in every form that they have on disk."""

import gzip
import lzma
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from rootfall.errors import BuildError
from rootfall_build.image import Image
from rootfall_build.kernel_modules import WHY_HASH, Selection, add_modules, signature_hashes
from rootfall_build.module_index import find_tree

VERSION = "9.9.9-test"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
    ".gz": gzip.compress,
}
SHA256 = bytes.fromhex("0609608648016503040201")
DEP = """\
kernel/fs/ext4/ext4.ko{s}: kernel/fs/jbd2/jbd2.ko{s} kernel/lib/crc16.ko{s}
kernel/fs/jbd2/jbd2.ko{s}:
kernel/lib/crc16.ko{s}:
kernel/crypto/crc32c_generic.ko{s}:
kernel/arch/crc32c-intel.ko{s}:
kernel/arch/sha256-ssse3.ko{s}: kernel/lib/sha256.ko{s}
kernel/lib/sha256.ko{s}:
kernel/drivers/snd-hda-codec.ko{s}:
kernel/drivers/ehci-pci.ko{s}:
"""
SOFTDEP = """\
# comment
softdep ext4 pre: crypto-crc32c
softdep jbd2 pre: nowhere post: ehci-pci
softdep crc16 snd_hda_codec
softdep snd_hda_codec pre: ext4
"""
ALIAS = """\
alias fs-ext4 ext4
alias crypto-crc32c crc32c_intel
alias crypto-crc32c crc32c_generic
alias crypto-sha256 sha256_ssse3
alias pci:v00008086d*sv*sd*bc0Csc03i20* ehci_pci
"""


def module(path: str, version: str = VERSION, signed: bytes = b"") -> bytes:
    body = b"\x7fELF" + path.encode() + b"\0vermagic=" + version.encode() + b" SMP mod_unload \0"
    if signed:
        body += signed + bytes(8) + len(signed).to_bytes(4, "big") + b"~Module signature appended~\n"
    return body


def tree(root: Path, suffix: str = "", **options: bytes) -> Path:
    directory = root / "lib/modules" / VERSION
    for line in DEP.splitlines():
        path = line.partition(":")[0].format(s="")
        file = directory / (path + suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(PACKERS[suffix](module(path, **options)))  # type: ignore[arg-type]
    (directory / "modules.dep").write_text(DEP.format(s=suffix))
    (directory / "modules.softdep").write_text(SOFTDEP)
    (directory / "modules.alias").write_text(ALIAS)
    (directory / "modules.builtin").write_text("kernel/fs/btrfs/btrfs.ko\n")
    (directory / "modules.builtin.modinfo").write_bytes(b"btrfs.alias=fs-btrfs\0btrfs.license=GPL\0")
    return directory


def put(directory: Path, *names: str, version: str = VERSION) -> tuple[Image, Selection]:
    image = Image()
    return image, add_modules(image, directory, version, names, directory / "cache")


def chosen(directory: Path, *names: str) -> set[str]:
    return {item.name for item in put(directory, *names)[1].modules}


EXT4 = {"ext4", "jbd2", "crc16", "crc32c_generic", "crc32c_intel", "ehci_pci"}


@pytest.mark.parametrize("suffix", PACKERS)
def test_every_form_on_disk_is_stored_plain_and_byte_for_byte(tmp_path: Path, suffix: str) -> None:
    tree(tmp_path, suffix)
    image, _ = put(tmp_path, "ext4")
    base = f"usr/lib/modules/{VERSION}"
    assert image[f"{base}/kernel/fs/ext4/ext4.ko"].entry.read() == module("kernel/fs/ext4/ext4.ko")  # type: ignore[union-attr]
    text = image[f"{base}/modules.dep"].entry.read().decode()  # type: ignore[union-attr]
    assert "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko\n" in text
    assert len(text.splitlines()) == len(EXT4)


def test_dependencies_and_soft_ones_before_and_after_come_too(tmp_path: Path) -> None:
    assert chosen(tree(tmp_path), "ext4") == EXT4


def test_each_module_says_why_it_is_there(tmp_path: Path) -> None:
    whys = {item.name: item.why for item in put(tree(tmp_path), "ext4")[1].modules}
    assert whys["ext4"] == "named in the configuration"
    assert whys["jbd2"] == "dependency of ext4"
    assert whys["crc32c_intel"] == "softdep (pre) of ext4"
    assert whys["ehci_pci"] == "softdep (post) of jbd2"


def test_dashes_are_underscores_and_aliases_are_names(tmp_path: Path) -> None:
    directory = tree(tmp_path)
    assert chosen(directory, "snd-hda_codec") == EXT4 | {"snd_hda_codec"}
    assert chosen(directory, "fs_ext4") == EXT4
    assert chosen(directory, "crypto-crc32c") == {"crc32c_generic", "crc32c_intel"}
    assert chosen(directory, "pci:v00008086d00001234sv1sd2bc0Csc03i20") == {"ehci_pci"}


def test_what_is_built_in_is_noted_and_no_error(tmp_path: Path) -> None:
    _, selection = put(tree(tmp_path), "btrfs", "fs-btrfs")
    assert selection == Selection((), ("btrfs", "fs-btrfs"))


def test_a_missing_module_is_an_error_with_a_near_name(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"the kernel module ext5; .*did you mean ext4"):
        put(tree(tmp_path), "ext5")


def test_the_index_in_the_image_has_its_modules_only(tmp_path: Path) -> None:
    image, _ = put(tree(tmp_path), "crc32c-intel")
    base = f"usr/lib/modules/{VERSION}"
    texts = {name: image[f"{base}/modules.{name}"].entry.read() for name in ("dep", "softdep", "alias", "builtin")}  # type: ignore[union-attr]
    assert texts == {
        "dep": b"kernel/arch/crc32c-intel.ko:\n",
        "softdep": b"",
        "alias": b"alias crypto-crc32c crc32c_intel\n",
        "builtin": b"kernel/fs/btrfs/btrfs.ko\n",
    }


@pytest.mark.parametrize("signed", [False, True])
def test_signed_modules_bring_the_hash_of_their_signatures(tmp_path: Path, signed: bool) -> None:
    directory = tree(tmp_path, signed=b"\x30\x0d" + SHA256 + b"\x05\x00" if signed else b"")
    whys = {item.name: item.why for item in put(directory, "crc16")[1].modules}
    assert ("sha256_ssse3" in whys) == signed
    if signed:
        assert whys["sha256_ssse3"] == WHY_HASH
        assert whys["sha256"] == "dependency of sha256_ssse3"


def test_the_hash_is_looked_for_in_the_signature_alone() -> None:
    assert list(signature_hashes(b"\x7fELF" + SHA256 + module("x", signed=b"\x30")[4:])) == []
    assert list(signature_hashes(b"~Module signature appended~\n")) == []


@pytest.mark.parametrize("below", ["", "lib/modules", f"lib/modules/{VERSION}"])
def test_the_directory_may_be_a_root_or_the_tree_itself(tmp_path: Path, below: str) -> None:
    directory = tree(tmp_path)
    assert find_tree(tmp_path / below, VERSION) == directory
    (tmp_path / "usr").mkdir()
    (tmp_path / "lib").rename(tmp_path / "usr/lib")
    assert find_tree(tmp_path, VERSION) == tmp_path / "usr/lib/modules" / VERSION


def test_another_version_is_refused_and_those_that_are_there_are_listed(tmp_path: Path) -> None:
    directory = tree(tmp_path)
    with pytest.raises(BuildError, match=f"kernel 1.2.3; seen: .* has those of {VERSION}"):
        find_tree(tmp_path, "1.2.3")
    with pytest.raises(BuildError, match=f"holds those of {VERSION}"):
        find_tree(directory, "1.2.3")


def test_a_tree_of_another_name_is_judged_by_what_its_modules_were_built_for(tmp_path: Path) -> None:
    renamed = tree(tmp_path).rename(tmp_path / "mine")
    assert chosen(renamed, "crc16") == {"crc16"}
    with pytest.raises(BuildError, match=f"it was built for {VERSION}"):
        put(renamed, "crc16", version="1.2.3")


def test_a_module_that_is_listed_but_gone_is_an_error(tmp_path: Path) -> None:
    directory = tree(tmp_path)
    (directory / "kernel/lib/crc16.ko").unlink()
    with pytest.raises(BuildError, match=r"crc16\.ko; seen: in modules\.dep, but not there"):
        put(directory, "ext4")


def test_a_damaged_compressed_module_is_an_error(tmp_path: Path) -> None:
    directory = tree(tmp_path, ".xz")
    (directory / "kernel/lib/crc16.ko.xz").write_bytes(b"\xfd7zXZ\0junk")
    with pytest.raises(BuildError, match=r"read the kernel module .*crc16\.ko\.xz"):
        put(directory, "crc16")


KO = """
__attribute__((section(".modinfo"), used)) static const char info[] =
  "vermagic=9.9.9-test SMP \\0name=NAME\\0license=GPL\\0ALIAS";
"""


def test_a_tree_without_index_is_indexed_on_a_copy_and_left_alone(tmp_path: Path) -> None:
    if shutil.which("depmod", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("depmod is not installed")
    directory = tmp_path / "lib/modules" / VERSION
    (directory / "kernel").mkdir(parents=True)
    for name, alias in (("aa", "alias=fs-aa"), ("bb", "softdep=pre: aa")):
        source = KO.replace("NAME", name).replace("ALIAS", alias).encode()
        subprocess.run(["gcc", "-c", "-o", directory / f"kernel/{name}.ko", "-x", "c", "-"], input=source, check=True)
    (directory / "modules.order").write_text("kernel/aa.ko\nkernel/bb.ko\n")
    (directory / "modules.builtin").write_text("")
    before = sorted(path.name for path in directory.iterdir())
    cache = tmp_path / "cache"
    for _ in range(2):
        selection = add_modules(Image(), tmp_path, VERSION, ["bb"], cache)
        assert {item.name for item in selection.modules} == {"aa", "bb"}
    assert sorted(path.name for path in directory.iterdir()) == before
    assert len(list((cache / "modules").iterdir())) == 1
    (directory / "kernel/bb.ko").rename(directory / "kernel/cc.ko")
    with pytest.raises(BuildError, match="the kernel module bb; seen: not among the 2 modules"):
        add_modules(Image(), tmp_path, VERSION, ["bb"], cache)
