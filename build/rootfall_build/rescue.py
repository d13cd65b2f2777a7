# SPDX-License-Identifier: MIT
"""What an image needs for its emergency: busybox with links for its applets, libcrypt for a password, FAT for the report.

Busybox must be a static program of the system root: one that needs libraries might not start when it is wanted most. Its
applets are looked up in the program itself, which is never run.
"""

from pathlib import Path

from rootfall.errors import BuildError
from rootfall.model import DeviceRef
from rootfall_build.elf import read
from rootfall_build.image import File, Image, Symlink
from rootfall_build.libraries import closure, default_directories, image_path, resolve

GROUP = "emergency shell"
_PLACES = ("/bin/busybox", "/usr/bin/busybox", "/sbin/busybox")
# What a person needs to look at a machine that does not start, and to mend it.
_APPLETS = (
    "sh ash [ awk base64 basename blkid cat chmod chown chroot clear cmp cp cut date dd df dirname dmesg du echo ed env expr "
    "false fdisk find free fsck grep gunzip gzip halt head hexdump hostname id insmod ip kill killall less ln losetup ls "
    "lsmod lspci lsusb md5sum mkdir mknod modinfo modprobe more mount mountpoint mv nslookup ping poweroff printf ps pwd "
    "readlink realpath reboot reset rm rmdir rmmod sed sha256sum sleep sort stat strings stty sync tail tar test top touch "
    "tr true tty umount uname uniq uptime vi wc which xxd xzcat zcat"
).split()

# What a FAT is mounted with beside vfat itself, and what tells the boot loader's partition (see rootfall.save).
_FAT = ("nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8", "efivarfs")


def add_shell(image: Image, shell: str, sysroot: Path) -> None:
    """Put the shell in that `image.shell` names; BuildError when it is not there or not static."""
    if shell != "busybox":
        return
    path = next((each for each in _PLACES if (sysroot / resolve(sysroot, each).lstrip("/")).is_file()), None)
    hint = "install the Debian package busybox-static, or leave image.shell out"
    if path is None:
        raise BuildError("put into the image", "busybox", seen=f"not in {', '.join(_PLACES)}", hint=hint)
    program = sysroot / resolve(sysroot, path).lstrip("/")
    if read(program).interpreter:
        raise BuildError("put into the image", str(program), seen="it needs shared libraries", hint=hint)
    image.add(File("usr/bin/busybox", 0o755, program), "image.shell", GROUP)
    known = program.read_bytes()
    for name in _APPLETS:
        if b"\0" + name.encode() + b"\0" in known:
            image.add(Symlink(f"usr/bin/{name}", "busybox"), "an applet of busybox", GROUP)


def modules_to_save(place: DeviceRef | None) -> tuple[tuple[str, ...], dict[str, str]]:
    """What boot.on_failure.save needs: modules that must be there, and those that help where the kernel has them, with why."""
    if place is None:
        return (), {}
    return ("vfat",), dict.fromkeys(_FAT, "boot.on_failure.save")


def add_password(image: Image, password: str, runtime: Path, sysroot: Path) -> None:
    """Put libcrypt in, which checks the password of `boot.on_failure`, where there is one."""
    if not password:
        return
    machine = read(runtime / "rootfall").machine
    for directory in default_directories(machine):
        path = resolve(sysroot, f"{directory}/libcrypt.so.1")
        library = sysroot / path.lstrip("/")
        if library.is_file() and read(library).machine == machine:
            break
    else:
        hint = "install the Debian package libcrypt1, or leave boot.on_failure.password out"
        raise BuildError("put into the image", "libcrypt.so.1", seen="it is not among the libraries", hint=hint)
    why = "checks the password of the emergency shell"
    image.add(File(image_path(f"{directory}/libcrypt.so.1"), 0o755, library), why, GROUP)
    for needed in closure([library], sysroot):
        image.add(File(needed.path, 0o755, needed.source), needed.why, "libraries")
        for link, target in needed.links:
            image.add(Symlink(link, target), needed.why, "libraries")
