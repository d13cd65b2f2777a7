# SPDX-License-Identifier: MIT
"""A system to take systemd-udevd from: the parts of a real Debian that the hook wants, whether this machine has udev or not."""

import tarfile
from collections.abc import Mapping
from pathlib import Path

from rootfall_qemu.cache import made_once
from rootfall_qemu.debian_root import debian_root
from tests.boot.images import digest

_WANTED = (
    "bin lib lib64 sbin etc/group etc/passwd etc/ld.so.conf etc/ld.so.conf.d etc/udev usr/lib/udev usr/lib64 "
    "usr/lib/x86_64-linux-gnu usr/lib/systemd/systemd-udevd usr/bin/udevadm usr/bin/sh usr/bin/dash"
).split()


def made(directory: Path, suite: str = "bookworm", more: Mapping[str, str] | None = None) -> Path:
    """The root, made once below `directory`; `more` are files of the site, scripts where they begin so."""
    files = dict(more or {})

    def make(place: Path) -> dict[str, object]:
        with tarfile.open(debian_root(suite)) as archive:
            archive.extraction_filter = lambda member, _: (
                member
            )  # links to absolute paths are wanted: they stay in the root
            for member in archive:
                name = member.name.removeprefix("./")
                if any(name == each or name.startswith(f"{each}/") for each in _WANTED):
                    archive.extract(member, place / "root")
        for name, text in files.items():
            path = place / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        return {"suite": suite}

    return made_once(directory / f"udev-{suite}-{digest(files)}", make) / "root"


def with_hook(config: str, root: Path, **options: object) -> str:
    """A configuration with the hook udevd, taken from a root, and these of its options."""
    words = ", ".join(f"{name}: {value}" for name, value in options.items())
    text = config.replace("image:\n", f"image:\n  programs_from: {root}\n")
    return text.replace("boot:\n", f"boot:\n  hooks: [{{udevd: {{{words}}}}}]\n")
