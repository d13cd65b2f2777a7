# SPDX-License-Identifier: MIT
"""The commands build, check, plan, list and cat: options in, a call, lines out. What they do is elsewhere."""

import json
import stat
import sys
import time
from pathlib import Path

import click

from rootfall.errors import BuildError
from rootfall.model import OnFailure
from rootfall_build import cpio, rootfs

_FILE = click.Path(path_type=Path)


def _compression(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, int | None] | None:
    from rootfall_build import compress

    try:
        return compress.parse(value) if value is not None else None
    except BuildError as error:
        raise click.BadParameter(error.hint) from None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", required=True, type=_FILE, metavar="FILE", help="The configuration (YAML).")
@click.option("--kernel", required=True, metavar="VERSION", help="The kernel's version, as uname -r prints it.")
@click.option(
    "--modules", required=True, type=_FILE, metavar="DIR", help="Its modules: a root, or lib/modules/VERSION."
)
@click.option("--output", required=True, type=_FILE, metavar="IMAGE", help="The image file to make.")
@click.option(
    "--compress",
    metavar="METHOD[:LEVEL]",
    callback=_compression,
    help="zstd, lz4, xz, gzip or none; overrides the configuration.",
)
def build(config: Path, kernel: str, modules: Path, output: Path, compress: tuple[str, int | None] | None) -> None:
    """Build an initramfs image for one kernel."""
    from rootfall_build import build as building
    from rootfall_build.freeze import freeze
    from rootfall_build.progress import display

    with display() as progress:
        request = building.Request(config, kernel, modules, output, compress)
        made = building.build(request, freeze, building.cache_directory(), progress)
    for line in made.lines():
        print(line)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False, type=_FILE)
@click.option(
    "--schema",
    is_flag=False,
    flag_value="boot",
    type=click.Choice(["boot", "container"]),
    help="Print the JSON Schema of the configuration instead, or of a container's file.",
)
@click.option("--hooks-from", default="", metavar="DIR", help="With --schema: the hooks of this directory, too.")
def check(file: Path | None, schema: str | None, hooks_from: str) -> None:
    """Check the configuration FILE, or print the schema that it must fit."""
    from rootfall import config as configuration
    from rootfall.schema import json_schema
    from rootfall_build.hooks import Available

    if (schema is not None) == (file is not None) or (hooks_from and schema != "boot"):
        raise click.UsageError("name either a FILE or --schema (with --hooks-from, where there are site hooks)")
    if file is None:
        if schema == "container":
            from rootfall.container.config import json_schema as container_schema

            print(json.dumps(container_schema(), indent=2))
        else:
            print(json.dumps(json_schema(Available(Path()), hooks_from), indent=2))
        return
    configuration.load(str(file), Available(file.parent))
    print(f"{file}: in order")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=_FILE)
@click.option("--append", default="", metavar="WORDS", help="The kernel command line that the boot will see.")
def plan(file: Path, append: str) -> None:
    """Print what a boot with the configuration FILE would do, step by step, without doing anything."""
    from rootfall import cmdline
    from rootfall import config as configuration
    from rootfall.mounts import API_MOUNTS
    from rootfall.plan import make_plan, stages
    from rootfall_build.hooks import Available

    _, config = configuration.load(str(file), Available(file.parent))
    parameters = cmdline.parse(append)
    argv, environment = cmdline.from_text(append)
    made = make_plan(cmdline.override(config, parameters))
    print(f"0. mount {' '.join(mount.target for mount in API_MOUNTS)}")
    print(made)
    print(f"   argv: {' '.join((made.handover.init, *argv))}")
    print(f"   environment: {' '.join(f'{name}={value}' for name, value in environment.items())}")
    print(f"   rd.break= stops before: {', '.join(stages(made))}")
    for stage in sorted({each for each in parameters.break_at if each} - set(stages(made))):
        print(f"warning: rd.break={stage}: no such stage; the boot will stop before the switch", file=sys.stderr)
    print(f"   if it fails: {_failure(cmdline.on_failure(config.boot.on_failure, parameters))}")
    for warning in parameters.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _failure(on_failure: OnFailure) -> str:
    """What a failed boot does, for people."""
    pause = f" after {on_failure.after:g} s" if on_failure.after else ""
    asked = " behind a password" if on_failure.password and on_failure.action == "shell" else ""
    kept = f", kept on {on_failure.save}" if on_failure.save else ""
    return f"the report{kept}, then {on_failure.action}{asked}{pause}"


@click.command("list", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("image", type=_FILE)
@click.option("-l", "--long", is_flag=True, help="With mode, owner, size and time, as ls -l does.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
def list_(image: Path, long: bool, as_json: bool) -> None:
    """List the members of any newc initramfs IMAGE, in the order in which they are stored."""
    members = cpio.read(_read(image), str(image))
    if as_json:
        print(json.dumps([_record(member) for member in members], indent=1))
        return
    for member in members:
        print(_long(member) if long else _printable(member.path))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("image", type=_FILE)
@click.argument("path")
def cat(image: Path, path: str) -> None:
    """Print the file at PATH in IMAGE, as it is when the image is unpacked; links are followed."""
    member = rootfs.look_up(rootfs.unpack(cpio.read(_read(image), str(image))), path, str(image))
    if not stat.S_ISREG(member.mode):
        raise BuildError("print", f"{path} in {image}", seen=f"{stat.filemode(member.mode)}, which is no regular file")
    rest = member.data
    while rest:  # with PYTHONUNBUFFERED this is write(2), which may take a part
        rest = rest[sys.stdout.buffer.write(rest) :]


def _read(image: Path) -> bytes:
    try:
        return image.read_bytes()
    except OSError as error:
        raise BuildError("read", str(image), errno=error.errno or 0) from None


def _record(member: cpio.Member) -> dict[str, object]:
    record: dict[str, object] = {
        "path": _printable(member.path),
        "mode": stat.filemode(member.mode),
        "permissions": f"{stat.S_IMODE(member.mode):04o}",
        "uid": member.uid,
        "gid": member.gid,
        "mtime": member.mtime,
        "size": member.size,
        "segment": member.segment,
    }
    if stat.S_ISLNK(member.mode):
        record["target"] = _target(member)
    if stat.S_ISCHR(member.mode) or stat.S_ISBLK(member.mode):
        record["device"] = list(member.rdev)
    return record


def _long(member: cpio.Member) -> str:
    device = stat.S_ISCHR(member.mode) or stat.S_ISBLK(member.mode)
    weight = f"{member.rdev[0]}, {member.rdev[1]}" if device else str(member.size)
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(member.mtime))
    arrow = f" -> {_target(member)}" if stat.S_ISLNK(member.mode) else ""
    owner = f"{member.uid}:{member.gid}"
    return f"{stat.filemode(member.mode)} {owner:>7} {weight:>10} {when} {_printable(member.path)}{arrow}"


def _target(member: cpio.Member) -> str:
    return _printable(bytes(member.data).decode("utf-8", "surrogateescape"))


def _printable(name: str) -> str:
    """`name` with what could steer a terminal, and bytes that are no UTF-8, written as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
