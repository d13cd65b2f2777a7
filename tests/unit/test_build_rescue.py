# SPDX-License-Identifier: MIT
"""What the builder puts in for a boot that fails: busybox, libcrypt, and which module drives what."""

import subprocess
from pathlib import Path

import pytest

from rootfall.errors import BuildError
from rootfall_build.hints import hints
from rootfall_build.image import File, Image, Symlink
from rootfall_build.module_index import Index, load
from rootfall_build.rescue import add_password, add_shell

APPLETS = b'#include <stdio.h>\nconst char n[] = "\\0sh\\0ls\\0\\0"; int main(void) { return puts(n) < 0; }\n'


def program(path: Path, *options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", *options, "-o", path, "-x", "c", "-"], input=APPLETS, check=True)
    return path


def test_a_static_busybox_goes_in_with_links_for_the_applets_that_it_has(tmp_path: Path) -> None:
    program(tmp_path / "usr/bin/busybox", "-static")
    (tmp_path / "bin").symlink_to("usr/bin")
    image = Image()
    add_shell(image, "busybox", tmp_path)
    assert isinstance(image["usr/bin/busybox"].entry, File)
    links = {each.entry for each in image if isinstance(each.entry, Symlink)}
    assert {Symlink("usr/bin/ls", "busybox"), Symlink("usr/bin/sh", "busybox")} <= links
    assert Symlink("usr/bin/vi", "busybox") not in links


def test_a_busybox_that_needs_libraries_or_is_not_there_is_refused_with_the_package(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="busybox-static"):
        add_shell(Image(), "busybox", tmp_path)
    program(tmp_path / "bin/busybox")
    with pytest.raises(BuildError, match=r"needs shared libraries; .*busybox-static"):
        add_shell(Image(), "busybox", tmp_path)


def test_nothing_goes_in_that_was_not_asked_for(tmp_path: Path) -> None:
    image = Image()
    add_shell(image, "none", tmp_path)
    add_password(image, "", tmp_path, tmp_path)
    assert len(image) == 0


def test_libcrypt_goes_in_with_a_password_where_the_loader_will_find_it(tmp_path: Path) -> None:
    program(tmp_path / "runtime/rootfall")
    image = Image()
    add_password(image, "$6$salt$hash", tmp_path / "runtime", Path("/"))
    paths = [each.entry.path for each in image if isinstance(each.entry, File)]
    assert any(path.endswith("/libcrypt.so.1") for path in paths)
    assert any("libc.so.6" in path for path in paths)
    with pytest.raises(BuildError, match="libcrypt1"):
        add_password(Image(), "$6$salt$hash", tmp_path / "runtime", tmp_path)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    (tmp_path / "modules.dep").write_text(
        "kernel/drivers/nvme/host/nvme.ko:\nkernel/drivers/net/e1000.ko:\nkernel/drivers/block/virtio_blk.ko.xz:\n"
    )
    (tmp_path / "modules.alias").write_text(
        "alias virtio:d00000002v* virtio-blk\nalias pci:v*d*sv*sd*bc01sc08i02* nvme\nalias pci:v00008086d0000100E* e1000\n"
        "alias of:N*T*Cvirtio,blk virtio_blk\n"
    )
    (tmp_path / "modules.builtin").write_text("kernel/drivers/ata/ahci.ko\nkernel/drivers/net/tun.ko\n")
    (tmp_path / "modules.builtin.modinfo").write_bytes(
        b"ahci.alias=pci:v*d*sv*sd*bc01sc06i01*\0ahci.license=GPL\0tun.alias=pci:v1*\0ahci.alias=a b\0"
    )
    return load(tmp_path)


def test_the_hints_name_the_drivers_of_all_storage_and_of_nothing_else(index: Index) -> None:
    assert hints(index).decode() == (
        "pci:v*d*sv*sd*bc01sc06i01* ahci\npci:v*d*sv*sd*bc01sc08i02* nvme\nvirtio:d00000002v* virtio_blk\n"
    )


def test_a_kernel_without_a_list_of_built_in_aliases_has_the_hints_of_its_modules(index: Index) -> None:
    (index.directory / "modules.builtin.modinfo").unlink()
    assert b"ahci" not in hints(index)
    assert b"virtio_blk" in hints(index)
