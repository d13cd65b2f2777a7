# SPDX-License-Identifier: MIT
"""root=auto on a machine that was booted by UEFI: of two disks with a root, the one whose loader has told its partition."""

import struct
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.machine import Disk, Firmware, Machine
from tests.boot import device_disks, matrix
from tests.boot.booted import Booted
from tests.boot.device_disks import OTHER_UUID, PARTUUIDS, UUID
from tests.guest.report import parse

pytestmark = pytest.mark.vm

CODE, VARIABLES = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
LOADER = uuid.UUID("4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
HEADER, VARIABLE_HEADER = 28, 60
START = 0x55AA
ADDED, NV_BS_RT = 0x3F, 7


def with_variable(store: bytes, name: str, value: str) -> bytes:
    """A variable put behind the last one of an authenticated variable store (edk2's VariableFormat.h)."""
    volume = int.from_bytes(store[48:50], "little")  # EFI_FIRMWARE_VOLUME_HEADER.HeaderLength
    at = volume + HEADER
    while struct.unpack_from("<H", store, at)[0] == START:
        name_size, data_size = struct.unpack_from("<II", store, at + 36)
        at += VARIABLE_HEADER + name_size + data_size
        at += -at % 4
    text, data = f"{name}\0".encode("utf-16-le"), f"{value}\0".encode("utf-16-le")
    head = struct.pack("<HBBIQ16sIII", START, ADDED, 0, NV_BS_RT, 0, bytes(16), 0, len(text), len(data))
    record = head + LOADER.bytes_le + text + data
    return store[:at] + record + store[at + len(record) :]


@pytest.mark.skipif(not CODE.exists(), reason="no OVMF (Debian: apt install ovmf)")
@pytest.mark.parametrize(("booted", "node"), [(0, "/dev/vda3"), (1, "/dev/vdb3")])
def test_the_root_is_on_the_disk_that_the_boot_loader_came_from(
    booted: int, node: str, boot: Callable[[Machine], Booted], image: Callable[..., Path], shared: Path, tmp_path: Path
) -> None:
    kernel = fetch_kernel("6.12")
    variables = tmp_path / "variables.fd"
    variables.write_bytes(with_variable(VARIABLES.read_bytes(), "LoaderDevicePartUUID", PARTUUIDS[booted].upper()))
    disks = tuple(
        Disk(device_disks.discoverable(shared, name, esp), snapshot=True)
        for name, esp in zip((UUID, OTHER_UUID), PARTUUIDS, strict=True)
    )
    append = "console=ttyS0 panic=-1 root=auto"
    firmware = Firmware(CODE, variables)
    machine = Machine(kernel.image, image(kernel, matrix.DISCOVERY), append, 512, disks=disks, firmware=firmware)
    seen = parse(boot(machine).console)
    assert [mount.source for mount in seen.mounts or () if mount.point == "/"] == [node]
