# SPDX-License-Identifier: MIT
"""Debian packages of any suite, downloaded and verified but never installed (apt.conf(5), sources.list(5)).

A private apt configuration has its own lists, cache and sources; the machine's apt state is read, never written. The
mirror is the one that the machine's own sources name, and signatures are checked with the machine's Debian keyring; if
that is too old for the suite, a newer keyring package is taken from a suite that it does verify. It refuses unsigned
or unverified data.
"""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rootfall.errors import RootfallError
from rootfall_qemu.cache import made_once, scratch

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR_VARIABLE = "ROOTFALL_DEBIAN_MIRROR"
ARCHITECTURE = "amd64"


@dataclass(frozen=True)
class Source:
    """One line of sources.list(5): where a release is."""

    uri: str
    release: str


@dataclass(frozen=True)
class Package:
    """One version of a package in a suite; `depends` holds the first alternative of each dependency, by name."""

    name: str
    version: str
    sha256: str
    depends: tuple[str, ...]


@dataclass(frozen=True)
class Apt:
    """A private apt whose lists are up to date; `directory` is all its state."""

    directory: Path
    sources: tuple[Source, ...]
    keyring: Path


def run(
    command: Sequence[str],
    attempted: str,
    subject: str,
    package: str,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The command's standard output; a RootfallError names the Debian package when the command is missing."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # depmod is there, for those who are not root too
    every = {**os.environ, "LC_ALL": "C.UTF-8", "PATH": path, **environment}
    try:
        done = subprocess.run(command, cwd=cwd, env=every, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise RootfallError(
            attempted,
            subject,
            errno=error.errno or 0,
            seen=f"no command {command[0]}",
            hint=f"install the Debian package {package}",
        ) from error
    if done.returncode:
        raise RootfallError(attempted, subject, seen=f"{command[0]}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def machine_sources() -> tuple[Source, ...]:
    """The Debian releases that this machine's apt knows, from its own sources, downloaded or not."""
    listing = run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)", "Identifier: Packages"],
        "read",
        "this machine's apt sources",
        "apt",
    )
    pairs = dict.fromkeys(tuple(line.split("|", 1)) for line in listing.splitlines() if "|" in line)
    return tuple(Source(uri, release) for uri, release in pairs if _is_debian(uri))


def _is_debian(uri: str) -> bool:
    return uri.rstrip("/").endswith(("/debian", "/debian-security"))


def machine_options() -> tuple[str, ...]:
    """What this machine's apt.conf says about mirrors and their dates, for tools that do not read it."""
    keys = ["Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::http::Proxy", "Acquire::https::Proxy"]
    command = ["apt-config", "dump", "--no-empty", "--format", '%F "%v";%n', *keys]
    return tuple(run(command, "read", "this machine's apt.conf", "apt").splitlines())


def sources_of(suites: Sequence[str]) -> tuple[Source, ...]:
    """Where these suites are, going by the machine's sources; a `-security` suite is left out if they know none."""
    machine = machine_sources()
    main = os.environ.get(MIRROR_VARIABLE) or next(
        (s.uri for s in machine if s.uri.rstrip("/").endswith("/debian")), ""
    )
    security = next((s.uri for s in machine if s.uri.rstrip("/").endswith("/debian-security")), "")
    if not main:
        raise RootfallError(
            "find",
            "a Debian mirror",
            seen="no Debian archive in this machine's apt sources",
            hint=f"set {MIRROR_VARIABLE} to the URI of one",
        )
    places = [Source(security if suite.endswith("-security") else main, suite) for suite in suites]
    return tuple(place for place in places if place.uri)


def open_suites(suites: Sequence[str], directory: Path, keyring: Path = KEYRING) -> Apt:
    """A private apt for these suites under `directory`, its lists fetched now and their signatures verified."""
    sources = sources_of(suites)
    try:
        return _opened(Apt(directory, sources, keyring))
    except RootfallError as error:
        if not re.search("NO_PUBKEY|couldn't be verified|not signed", error.seen):
            raise
    return _opened(Apt(directory, sources, newer_keyring(directory / "keyring", keyring)))


def newer_keyring(target: Path, keyring: Path = KEYRING) -> Path:
    """The newest debian-archive-keyring of the machine's own releases, vouched for by the keyring that is here."""

    def make(directory: Path) -> dict[str, object]:
        with scratch(target.parent) as state:
            apt = _opened(Apt(state, _vouched(machine_sources(), state, keyring), keyring))
            package = show(apt, "debian-archive-keyring")
            unpack(apt, [package], directory)
        return {"package": package.name, "version": package.version, "sha256": package.sha256}

    return made_once(target, make) / KEYRING.relative_to("/")


def _vouched(sources: Sequence[Source], directory: Path, keyring: Path) -> tuple[Source, ...]:
    """The sources whose signatures this keyring can check: an old one may know some only."""
    good: list[Source] = []
    for source in sources:
        with contextlib.suppress(RootfallError):
            good += _opened(Apt(directory, (source,), keyring)).sources
    return tuple(good)


def _opened(apt: Apt) -> Apt:
    if not apt.keyring.exists():
        raise RootfallError(
            "verify", "Debian's archive", seen=f"no {apt.keyring}", hint="install the package debian-archive-keyring"
        )
    for name in ("state/lists/partial", "cache/archives/partial"):
        (apt.directory / name).mkdir(parents=True, exist_ok=True)
    (apt.directory / "status").touch()
    lines = [f"deb [signed-by={apt.keyring}] {source.uri} {source.release} main\n" for source in apt.sources]
    (apt.directory / "sources.list").write_text("".join(lines))
    _apt(apt, "apt-get", "update", "--error-on=any")
    return apt


def _apt(apt: Apt, program: str, *arguments: str, cwd: Path | None = None) -> str:
    """Run apt with its private directories; options, not APT_CONFIG: the last word is ours."""
    options = {
        "Dir::State": apt.directory / "state",
        "Dir::State::status": apt.directory / "status",
        "Dir::Cache": apt.directory / "cache",
        "Dir::Etc::sourcelist": apt.directory / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Architecture": ARCHITECTURE,
        "APT::Architectures": ARCHITECTURE,
        "APT::Sandbox::User": "root",  # the cache may lie in a home directory that _apt cannot enter
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    command = [program, *(f"-o{key}={value}" for key, value in options.items()), *arguments]
    releases = ", ".join(source.release for source in apt.sources)
    return run(command, "fetch", f"{' '.join(arguments)} from Debian {releases}", "apt", cwd=cwd)


def show(apt: Apt, name: str) -> Package:
    """The newest version of a package in the opened suites."""
    stanza = next(_stanzas(_apt(apt, "apt-cache", "show", "--no-all-versions", name)), {})
    if not stanza:
        raise RootfallError("find", f"the Debian package {name}", seen=", ".join(s.release for s in apt.sources))
    return Package(name, stanza["Version"], stanza["SHA256"], dependencies(stanza.get("Depends", "")))


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """Single-line fields of deb822(5) paragraphs."""
    for paragraph in re.split(r"\n\n+", text.strip()):
        fields = (line.split(":", 1) for line in paragraph.splitlines() if re.match(r"[A-Za-z0-9-]+:", line))
        yield {key: value.strip() for key, value in fields}


def dependencies(field: str) -> tuple[str, ...]:
    """Names in a Depends field, the first of each set of alternatives: `a (= 1) | b, c` gives a, c."""
    groups = (group.split("|", 1)[0].strip() for group in field.split(","))
    return tuple(re.split(r"[\s(:\[]", group, maxsplit=1)[0] for group in groups if group)


def unpack(apt: Apt, packages: Sequence[Package], directory: Path) -> None:
    """Download the packages (apt checks their hashes against the signed lists) and unpack them into `directory`."""
    with scratch(directory.parent) as debs:
        _apt(apt, "apt-get", "download", *(f"{p.name}={p.version}" for p in packages), cwd=debs)
        for deb in sorted(debs.glob("*.deb")):
            run(["dpkg-deb", "-x", str(deb), str(directory)], "unpack", deb.name, "dpkg")
