# SPDX-License-Identifier: MIT
"""The file of a container: it asks for what the options ask for, every mistake has its place, and only a safe file is read."""

import json
import os
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rootfall.container import config, defaults, options
from rootfall.container.defaults import Caller
from rootfall.container.model import Container
from rootfall.errors import ConfigError, ContainerError
from rootfall_build import cli

HOUSE = Path(__file__).parents[2]
ROOT = Caller(0, 0, 42, {"LANG": "C"}, lambda kind: ((100000, 65536),))
WHOLE = """\
version: 1
id: demo
root: {path: /srv/root, readonly: true, overlay: "/u:/w", put_old: /mnt, propagation: slave}
process:
  args: [sh, -c, "exit 3"]
  env: [A=1, LANG]
  cwd: /tmp
  user: "1000:100"
  additional_gids: [27, 4]
  umask: "077"
  terminal: true
  as_pid1: true
  capabilities: [CAP_CHOWN, kill]
  drop_capabilities: [CAP_KILL]
  no_new_privileges: false
  seccomp: unconfined
  rlimits: ["NOFILE=1024:4096", CORE=0]
  oom_score_adj: -5
  preserve_fds: 2
mounts:
  - {destination: /work, type: bind, source: /home/me, options: [ro, noexec]}
  - {destination: /t, type: tmpfs, options: [size=64M]}
  - {destination: /p, type: proc, options: [ro]}
default_mounts: {sysfs: false, mqueue: false}
masked_paths: [/etc/shadow]
unmasked_paths: [/proc/kcore]
namespaces: {ipc: false, user: true}
uid_mappings: ["0:100000:65536"]
gid_mappings: [auto]
hostname: try
time_offsets: {boottime: -3}
resources:
  memory_max: 64M
  memory_swap_max: 0
  pids_max: 100
  cpus: 0.5
  cpu_weight: 50
  cpuset_cpus: 0-1
  cpuset_mems: 0
  io_max: ["8:0,wbps=1M"]
  parent: /a
"""
WORDS = (
    "--id demo --read-only --overlay /u:/w --put-old /mnt --propagation slave -e A=1 -e LANG --cwd /tmp --user 1000:100 "
    "--groups 27 --groups 4 --umask 077 -t --as-pid1 --cap-add CHOWN --cap-add KILL --cap-drop kill --no-new-privs=no "
    "--seccomp unconfined --rlimit NOFILE=1024:4096 --rlimit core=0 --oom-score-adj -5 --preserve-fds 2 "
    "--bind /home/me:/work:ro,noexec --tmpfs /t:size=64M --no-sysfs --no-mqueue --mask /etc/shadow --unmask /proc/kcore "
    "--share ipc --userns --map-users 0:100000:65536 --map-groups auto --hostname try --time-offset boottime=-3 --memory 64M "
    "--memory-swap-max 0 --pids-limit 100 --cpus 0.5 --cpu-weight 50 --cpuset 0-1 --cpuset-mems 0 --io-max 8:0,wbps=1M "
    "--cgroup-parent /a /srv/root sh -c"
).split()


def by_file(text: str, *words: str, caller: Caller = ROOT) -> Container:
    line = options.parse(list(words))
    asked = config.merge(config.parse(text.encode(), "c.yaml"), line.asked)
    return defaults.make(asked, line.root, line.command, caller)


def by_words(*words: str) -> Container:
    line = options.parse(list(words))
    return defaults.make(line.asked, line.root, line.command, ROOT)


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text.encode(), "c.yaml")
    return str(caught.value).splitlines()


def test_the_file_and_the_command_line_ask_for_the_same() -> None:
    found = by_file(WHOLE)
    proc = found.mounts[-1]
    assert (proc.destination, proc.type, proc.options) == ("/p", "proc", ("ro",)), "what no option says"
    assert found._replace(mounts=found.mounts[:-1]) == by_words(*WORDS, "exit 3")


def test_every_key_is_in_the_whole_file() -> None:
    tree = yaml.safe_load(WHOLE)
    paths = {key.path for key in config.table().keys}
    here = {f"{key}.{inner}" for key, value in tree.items() if isinstance(value, dict) for inner in value}
    here |= {key for key, value in tree.items() if not isinstance(value, dict)}
    rest = {"default_mounts.proc", "default_mounts.dev", "time_offsets.monotonic", "resources.memory_swap"}
    assert paths - here == rest | {f"namespaces.{each}" for each in ("pid", "network", "uts", "cgroup", "time")}


def test_the_command_line_wins_and_lists_go_on() -> None:
    text = (
        "version: 1\nroot: {path: /a}\nprocess: {args: [sh], env: [A=1, B=1], cwd: /x}\nresources: {memory_max: 1M}\n"
    )
    found = by_file(text, "--env", "B=2", "--cwd", "/y", "--memory", "2M", "--tmpfs", "/t")
    assert found.process.env[-2:] == ("A=1", "B=2")
    assert (found.process.cwd, found.resources.memory_max) == ("/y", 2 << 20)
    assert found.mounts[-1].destination == "/t"


def test_the_command_of_the_command_line_follows_the_root_or_two_hyphens(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("version: 1\nroot: {path: r}\nprocess: {args: [sh]}\n")
    line = options.parse(["--config", str(file), "--", "ls", "-l"])
    assert (line.root, line.command) == ("", ("ls", "-l"))
    line = options.parse(["--config", str(file), "/other", "--", "ls"])
    assert (line.root, line.command) == ("/other", ("ls",))
    assert options.parse(["--config", str(file)]).command == ()


def test_every_mistake_has_its_place_its_key_and_its_remedy() -> None:
    text = """\
version: 1
root: {path: root, overlay: volatil}
process:
  args: sh
  user: 10:10
  umask: 022
  seccomp: fd:3
  rlimts: [a]
  terminal: maybe
mounts:
  - {destination: work, type: bnd, source: x, option: [ro]}
  - {destination: /tmp, type: tmpfs, options: [sze=1M]}
  - {destination: /b, type: bind}
  - {type: tmpfs}
  - x
  - {destination: /c, type: bind, source: "a\\0b"}
resources: {memory_max: 64Q, cpus: no}
namespaces: {mount: true}
plan: true
"""
    found = mistakes(text)
    wanted = [
        '2:29: root.overlay: must be two directories of one file system, UPPER:WORK; or volatile, not "volatil"',
        '4:9: process.args: must be a list such as [/bin/sh, -c, id], not "sh"; write [sh]',
        "5:9: process.user: must be UID or UID:GID",
        "6:10: process.umask: must be an octal number",
        '7:12: process.seccomp: must be default or unconfined, not "fd:3"',
        '8:3: process.rlimts: unknown key; did you mean "rlimits"?',
        '9:13: process.terminal: must be true or false, not "maybe"',
        "11:19: mounts[0].destination: must be an absolute path in the new root",
        "11:31: mounts[0].type: must be one of bind, tmpfs",
        '11:47: mounts[0].option: unknown key; did you mean "options"?',
        "12:5: mounts[1]: 'sze=1M' is no option of a tmpfs",
        "13:5: mounts[2]: a bind needs a source",
        "14:5: mounts[3]: a mount needs a destination and a type",
        "15:5: mounts[4]: must be a mapping with destination, type",
        '16:43: mounts[5].source: must be a text, not "a?b"',
        "17:25: resources.memory_max: must be a number of bytes",
        "17:36: resources.cpus: must be a number of processors, such as 0.5, not no, which YAML reads as false",
        "18:14: namespaces.mount: unknown key",
        "19:1: plan: unknown key",
    ]
    assert [line.startswith(f"c.yaml:{start}") for line, start in zip(found, wanted, strict=True)] == [True] * len(
        wanted
    )


@pytest.mark.parametrize(
    "text", ["", "- a\n", "root: {path: r}\n", "version: 2\n", "version: 1\nroot: &a {path: r}\n", "a: ["]
)
def test_a_file_that_is_none_is_refused(text: str) -> None:
    assert all(line.startswith("c.yaml") for line in mistakes(text))


def file_in(directory: Path, text: str = "version: 1\nroot: {path: root}\nprocess: {args: [sh]}\n") -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "c.yaml").write_text(text)
    (directory / "c.yaml").chmod(0o644)
    return directory / "c.yaml"


def refused(path: Path, root: str = "") -> str:
    with pytest.raises(ContainerError) as caught:
        config.load(str(path), root)
    return str(caught.value)


def test_paths_of_the_host_are_meant_from_the_files_directory(tmp_path: Path) -> None:
    text = "version: 1\nroot: {path: r, overlay: 'u:/w'}\nmounts: [{destination: /s, type: bind, source: s}]\n"
    found = config.load(str(file_in(tmp_path, text)), "")
    assert (found["root.path"], found["root.overlay"]) == (f"{tmp_path}/r", f"{tmp_path}/u:/w")
    assert found["mounts"][0].source == f"{tmp_path}/s"


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = file_in(tmp_path)
    path.chmod(mode)
    assert f"others may write to it (mode {mode:04o}); chmod go-w it" in refused(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    os.chown(path, 12345, -1)
    assert "it belongs to user 12345; only root's files and your own are used" in refused(path)


def test_a_file_in_its_own_root_is_refused_whatever_the_names(tmp_path: Path) -> None:
    """nspawn's CVE-2026-40226: who makes the root must not configure what confines it."""
    inside = file_in(tmp_path / "root", f"version: 1\nroot: {{path: {tmp_path}/link}}\nprocess: {{args: [sh]}}\n")
    (tmp_path / "link").symlink_to("root")
    assert "it lies in the root that it is for" in refused(inside)
    (inside.parent / "etc").mkdir()
    deeper = file_in(inside.parent / "etc")
    assert "it lies in the root" in refused(deeper, str(tmp_path / "link"))
    outside = file_in(tmp_path / "other")
    assert config.load(str(outside), str(inside.parent))["root.path"] == f"{outside.parent}/root"
    (tmp_path / "way").symlink_to(inside)
    assert "it lies in the root" in refused(tmp_path / "way", str(inside.parent))


def test_a_fifo_or_a_directory_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "it is no regular file" in refused(tmp_path / "fifo")
    assert "it is no regular file" in refused(tmp_path)


def test_the_schema_is_valid_and_takes_the_whole_file() -> None:
    jsonschema.Draft202012Validator.check_schema(config.json_schema())
    jsonschema.Draft202012Validator(config.json_schema()).validate(yaml.safe_load(WHOLE))
    for wrong in (
        "{}",
        "version: 1\nx: 1\n",
        "version: 1\nmounts: [{type: bind}]\n",
        "version: 1\nprocess: {terminal: 1}\n",
    ):
        assert not jsonschema.Draft202012Validator(config.json_schema()).is_valid(yaml.safe_load(wrong))


def test_the_builders_command_line_has_the_schema_and_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--schema=container"]) == 0
    assert json.loads(capsys.readouterr().out) == config.json_schema()
    assert cli.main(["check", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "rootfall"
    assert cli.main(["container", "run", "--nonsense"]) == 125


def test_the_example_is_in_order() -> None:
    path = HOUSE / "examples/container.yaml"
    text = path.read_text()
    jsonschema.Draft202012Validator(config.json_schema()).validate(yaml.safe_load(text))
    assert by_file(text).process.args


LEAVES = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "/a", "0:1:2", "64M", "ro", "bind", "auto"])
)
NAMES = st.sampled_from(
    sorted({part for key in config.table().keys for part in key.path.split(".")} | {"destination", "type"})
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)


@given(st.dictionaries(NAMES, TREES, max_size=4))
def test_any_tree_asks_for_something_or_is_a_list_of_mistakes_and_the_schema_is_no_stricter(
    tree: dict[str, object],
) -> None:
    tree |= {"version": 1}
    text = yaml.safe_dump(tree)
    try:
        config.parse(text.encode(), "c.yaml")
    except ConfigError as error:
        assert error.problems  # noqa: PT017
    else:
        assert jsonschema.Draft202012Validator(config.json_schema()).is_valid(yaml.safe_load(text))
