# SPDX-License-Identifier: MIT
import json
import os
import shutil
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest

from rootfall_qemu import disk
from rootfall_qemu.disk import MIB, Partition
from rootfall_qemu.errors import MachineError

UUID = "0f7e4b1c-5a43-4a51-9d6c-3a1f3a1b2c3d"
OTHER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sbin").mkdir(parents=True)
    (root / "sbin" / "init").write_text("#!/bin/sh\n")
    (root / "sbin" / "init").chmod(0o755)
    return root


def debugfs(image: Path, request: str) -> str:
    program = shutil.which("debugfs", path=f"{os.environ['PATH']}:/usr/sbin")
    return subprocess.run([str(program), "-R", request, image], capture_output=True, text=True, check=True).stdout


def blkid(image: Path) -> dict[str, str]:
    program = shutil.which("blkid", path=f"{os.environ['PATH']}:/usr/sbin")
    out = subprocess.run([str(program), "-p", "-o", "export", image], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in out.splitlines())


def test_an_ext4_has_its_uuid_its_label_and_the_tree(tmp_path: Path, tree: Path) -> None:
    image = disk.ext4(tmp_path / "root", 32 * MIB, uuid=UUID, label="real root", tree=tree)
    found = blkid(image)
    assert (found["TYPE"], found["UUID"], found["LABEL"]) == ("ext4", UUID, "real\\ root")
    assert "#!/bin/sh" in debugfs(image, "cat /sbin/init")
    assert "Mode:  0755" in debugfs(image, "stat /sbin/init")


def test_an_ext4_is_sparse(tmp_path: Path) -> None:
    status = disk.ext4(tmp_path / "root", 1024 * MIB).stat()
    assert status.st_size == 1024 * MIB
    assert status.st_blocks * 512 < 40 * MIB


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_directory_of_roots_keeps_its_owners(tmp_path: Path, tree: Path) -> None:
    os.chown(tree / "sbin" / "init", 1234, 1234)
    image = disk.ext4(tmp_path / "root", 32 * MIB, tree=tree)
    assert "User:  1234" in debugfs(image, "stat /sbin/init")


def test_a_directory_of_an_ordinary_user_belongs_to_root_in_the_image(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(tree / "sbin" / "init", 1234, 1234)
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
    image = disk.ext4(tmp_path / "root", 32 * MIB, tree=tree)
    assert "User:     0" in debugfs(image, "stat /sbin/init")


def test_a_tarball_keeps_its_owners_and_device_nodes(tmp_path: Path) -> None:
    tarball = tmp_path / "root.tar"
    with tarfile.open(tarball, "w") as tar:
        node = tarfile.TarInfo("console")
        node.type, node.devmajor, node.devminor, node.uid = tarfile.CHRTYPE, 5, 1, 42
        tar.addfile(node)
    image = disk.ext4(tmp_path / "root", 32 * MIB, tree=tarball)
    stat = debugfs(image, "stat /console")
    assert "Type: character special" in stat
    assert "User:    42" in stat
    assert "05:01" in stat


def test_a_tree_that_does_not_fit_leaves_no_image_and_says_why(tmp_path: Path, tree: Path) -> None:
    (tree / "large").write_bytes(os.urandom(4 * MIB))
    with pytest.raises(MachineError, match=r"mke2fs ended with 1: .*[Cc]ould not allocate"):
        disk.ext4(tmp_path / "root", 2 * MIB, tree=tree)
    assert not (tmp_path / "root").exists()


def test_a_gpt_disk_holds_its_partitions_with_their_uuids_and_labels(tmp_path: Path, tree: Path) -> None:
    root = disk.ext4(tmp_path / "root", 32 * MIB, uuid=UUID, tree=tree)
    spare = Partition(size=5 * MIB, label="spare room", kind="swap")
    whole = disk.gpt(tmp_path / "disk", (spare, Partition(root, uuid=OTHER, label="root")), uuid=UUID)
    sfdisk = shutil.which("sfdisk", path=f"{os.environ['PATH']}:/usr/sbin")
    table = json.loads(subprocess.check_output([str(sfdisk), "--json", whole]))["partitiontable"]
    assert (table["label"], uuid.UUID(table["id"])) == ("gpt", uuid.UUID(UUID))
    first, second = table["partitions"]
    assert (first["name"], first["size"]) == ("spare room", 5 * MIB // 512)
    assert (second["name"], second["uuid"]) == ("root", OTHER.upper())
    with whole.open("rb") as file:
        file.seek(second["start"] * 512)
        assert file.read(root.stat().st_size) == root.read_bytes()
    assert whole.stat().st_blocks < whole.stat().st_size // 512 // 2


def test_a_partition_smaller_than_its_content_is_refused(tmp_path: Path) -> None:
    content = disk.blank(tmp_path / "content", 3 * MIB)
    with pytest.raises(MachineError, match="cannot make the partition data"):
        disk.gpt(tmp_path / "disk", (Partition(content, size=MIB, label="data"),))


@pytest.mark.parametrize(
    ("tool", "package"),
    [("mkfs.btrfs", "btrfs-progs"), ("mkfs.erofs", "erofs-utils"), ("mksquashfs", "squashfs-tools")],
)
def test_the_other_file_systems_are_made_or_their_package_is_named(
    tmp_path: Path, tree: Path, tool: str, package: str
) -> None:
    makers = {
        "mkfs.btrfs": lambda image: disk.btrfs(image, 128 * MIB, uuid=UUID, label="b", tree=tree),
        "mkfs.erofs": lambda image: disk.erofs(image, tree, uuid=UUID),
        "mksquashfs": lambda image: disk.squashfs(image, tree),
    }
    if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin"):
        image = makers[tool](tmp_path / "image")
        assert blkid(image)["TYPE"] == tool.removeprefix("mk").removeprefix("fs.")
        return
    with pytest.raises(MachineError, match=f"no such program; apt install {package}"):
        makers[tool](tmp_path / "image")
    assert not (tmp_path / "image").exists()
