# SPDX-License-Identifier: MIT
"""The configuration: what is accepted, what each mistake says and where, and the ready form beside it."""

import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rootfall import config, schema
from rootfall.errors import ConfigError, Problem
from rootfall.model import BootConfig, Config, DeviceRef, ImageConfig, OnFailure, Root

UUID = "0a3407de-014b-458b-b5c1-848e92a327a3"
DEFAULTS = Config(1, BootConfig(Root(None)), ImageConfig())
WHOLE = f"""\
version: 1
boot:
  root: {{device: UUID={UUID}, fstype: ext4, options: [noatime, commit=30], mode: rw, timeout: 1m30s, delay: 500ms}}
  init: /lib/systemd/systemd
  on_failure: {{action: reboot, after: 10}}
image:
  modules: [virtio_pci, 8021q, ext4]
  compress: {{method: xz, level: 9}}
"""


def problems_of(text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text.encode() if isinstance(text, str) else text, "rootfall.yaml")
    return caught.value.problems


def only_problem(text: str | bytes) -> Problem:
    problems = problems_of(text)
    assert len(problems) == 1, problems
    return problems[0]


def root_of(line: str) -> Root:
    return config.parse(f"version: 1\nboot: {{root: {{{line}}}}}".encode(), "f").boot.root


def test_a_whole_file_becomes_the_records_it_says() -> None:
    root = Root(DeviceRef("UUID", UUID), "ext4", ("noatime", "commit=30"), "rw", 90.0, 0.5)
    boot = BootConfig(root, "/lib/systemd/systemd", OnFailure("reboot", 10.0))
    assert config.parse(WHOLE.encode(), "f") == Config(
        1, boot, ImageConfig(("virtio_pci", "8021q", "ext4"), compress="xz", level=9)
    )


@pytest.mark.parametrize(
    ("written", "place"),
    [("esp", DeviceRef("ESP", "esp")), (f"PARTUUID={UUID}", DeviceRef("PARTUUID", UUID))],
)
def test_the_place_for_a_report_is_the_system_partition_or_any_device(written: str, place: DeviceRef) -> None:
    text = f"version: 1\nboot: {{on_failure: {{save: {written}}}}}"
    jsonschema.validate(yaml.safe_load(text), schema.json_schema())
    read = config.parse(text.encode(), "f")
    assert read.boot.on_failure == OnFailure(save=place)
    assert config.read_ready(config.ready(text.encode(), read), text.encode()) == read


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("auto", "esp is the EFI system partition"),
        ("yes", "not yes, which YAML reads as true"),
        ("/boot/efi", "does not name"),
    ],
)
def test_a_place_for_a_report_that_is_none_says_what_is_wrong(written: str, said: str) -> None:
    text = f"version: 1\nboot: {{on_failure: {{save: {written}}}}}"
    assert said in only_problem(text).message
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema.json_schema())


def test_the_version_alone_is_a_whole_file() -> None:
    assert config.parse(b"version: 1", "f") == DEFAULTS


def test_the_defaults_in_the_table_are_those_of_the_model() -> None:
    lines = [f"{key.path}: {key.default}" for key in schema.KEYS if key.default]
    tree: dict[str, object] = {"version": 1}
    for line in lines:
        path, _, value = line.partition(": ")
        *sections, name = path.split(".")
        place: dict[str, object] = tree
        for section in sections:
            place = place.setdefault(section, {})  # type: ignore[assignment]
        place[name] = yaml.safe_load(value)
    assert config.parse(yaml.safe_dump(tree).encode(), "f") == DEFAULTS


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30s", 30.0), ("2m", 120.0), ("500ms", 0.5), ("1m30s", 90.0), ("7", 7.0), ("0", 0.0), ("1h", 3600.0)],
)
def test_a_duration_is_read_in_each_of_its_forms(written: str, seconds: float) -> None:
    assert root_of(f"timeout: {written}, delay: {written}")[4:] == (seconds, seconds)


def test_forever_is_a_timeout_and_not_a_delay() -> None:
    assert root_of("timeout: forever").timeout is None
    assert 'not "forever"' in only_problem("version: 1\nboot: {root: {delay: forever}}").message


@pytest.mark.parametrize(
    ("written", "reference"),
    [
        (f"UUID={UUID.upper()}", DeviceRef("UUID", UUID)),
        ("UUID=12ab-34cd", DeviceRef("UUID", "12AB-34CD")),
        ("UUID=A0B1C2D3E4F50617", DeviceRef("UUID", "A0B1C2D3E4F50617")),
        ("UUID=2024-01-31-12-00-00-00", DeviceRef("UUID", "2024-01-31-12-00-00-00")),
        ("LABEL=root", DeviceRef("LABEL", "root")),
        ("'LABEL=my disk'", DeviceRef("LABEL", "my disk")),
        (f"PARTUUID={UUID}", DeviceRef("PARTUUID", UUID)),
        ("PARTUUID=DEADBEEF-02/PARTNROFF=1", DeviceRef("PARTUUID", "deadbeef-02", 1)),
        ("PARTLABEL=linux-root", DeviceRef("PARTLABEL", "linux-root")),
        ("/dev/nvme0n1p2", DeviceRef("PATH", "/dev/nvme0n1p2")),
        ("/dev/mapper/vg-root", DeviceRef("PATH", "/dev/mapper/vg-root")),
        (f"/dev/disk/by-uuid/{UUID}", DeviceRef("UUID", UUID)),
        ("/dev/disk/by-label/my\\x20disk", DeviceRef("LABEL", "my disk")),
        ("/dev/disk/by-id/ata-X", DeviceRef("PATH", "/dev/disk/by-id/ata-X")),
        ("'8:1'", DeviceRef("DEVNUM", "8:1")),
        ("'08:01'", DeviceRef("DEVNUM", "8:1")),
    ],
)
def test_a_device_is_read_in_each_of_its_forms(written: str, reference: DeviceRef) -> None:
    assert root_of(f"device: {written}").device == reference
    jsonschema.validate(yaml.safe_load(f"version: 1\nboot: {{root: {{device: {written}}}}}"), schema.json_schema())


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (f"UUID={UUID[:-1]}", "it has 31 digits, not 32"),
        (f"UUID={UUID[:-1]}g", "'g' is not a hexadecimal digit"),
        ("UUID=", "has nothing after the ="),
        ("UUID=foo", "is not a UUID"),
        (f"uuid={UUID}", "must be in capitals: UUID="),
        ("PARTUUID=deadbeef-2", "is not a partition UUID"),
        ("PARTUUID=deadbeef-02/PARTNROFF=x", "only /PARTNROFF=n"),
        ('LABEL="my disk"', "must have no quotes inside"),
        ("/dev/nfs", "a root on NFS is not supported"),
        ("nfs:server", "must be on a block device"),
        ("/dev/../etc", "not a plain path"),
        ("/dev/", "not a plain path"),
        ("sda1", "does not name a device; allowed: UUID="),
        ("8:1", "which YAML reads as the number 481"),
        ("[a]", "not a list"),
    ],
)
def test_a_device_that_is_none_says_what_is_wrong(written: str, said: str) -> None:
    text = f"version: 1\nboot:\n  root:\n    device: {written}"
    problem = only_problem(text)
    assert problem[:3] == (4, 13, "boot.root.device")
    assert said in problem.message
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema.json_schema())


CASES = {
    "unknown key": ("version: 1\nfoo: 1", (2, 1, "foo"), "unknown key (allowed here: version, boot, image)"),
    "near key": ("version: 1\nboot: {root: {tiemout: 3}}", (2, 15, "boot.root.tiemout"), 'did you mean "timeout"?'),
    "dash in key": ("version: 1\nboot: {on-failure: {}}", (2, 8, "boot.on-failure"), 'did you mean "on_failure"?'),
    "misplaced key": ("version: 1\nroot: x", (2, 1, "root"), 'did you mean "boot"?'),
    "misplaced deep": ("version: 1\ntimeout: 3", (2, 1, "timeout"), 'did you mean "boot.root.timeout"?'),
    "duplicate": ("version: 1\nboot: {}\nboot: {}", (3, 1, "boot"), "given twice; first in line 2"),
    "no version": ("boot: {}", (1, 1, "version"), "is missing: add the line `version: 1`"),
    "version 2": ("version: 2", (1, 10, "version"), "must be 1, not 2: that is all that rootfall"),
    "version text": ('version: "1"', (1, 10, "version"), 'must be 1, not "1"'),
    "version octal": ("version: 01", (1, 10, "version"), "not 01, which YAML reads as the number 1"),
    "null section": (
        "version: 1\nboot:",
        (2, 6, "boot"),
        "must be a mapping with root, init, module_options, blacklist, hooks, on_failure, not empty",
    ),
    "list section": ("version: 1\nboot: [x]", (2, 7, "boot"), "must be a mapping with root"),
    "top is a list": ("- version", (1, 1, ""), "must be a mapping with version, boot, image, not a list"),
    "list as a key": ("version: 1\n? [a]\n: b", (2, 3, ""), "a key must be a word, not a list"),
    "bool": ("version: 1\nboot: {root: {mode: on}}", (2, 21, "boot.root.mode"), "not on, which YAML reads as true"),
    "bool no": ("version: 1\nimage: {compress: no}", (2, 19, "image.compress"), "not no, which YAML reads as false"),
    "sexagesimal": ("version: 1\nboot: {root: {timeout: 1:30}}", (2, 24, "boot.root.timeout"), "the number 90"),
    "octal": ("version: 1\nboot: {root: {delay: 010}}", (2, 22, "boot.root.delay"), "reads as the number 8"),
    "date": ("version: 1\nboot: {init: 2024-01-31}", (2, 14, "boot.init"), "the date 2024-01-31"),
    "no such date": ("version: 1\nboot: {init: 2024-13-31}", (2, 14, "boot.init"), "nothing that exists"),
    "float": ("version: 1\nboot: {root: {delay: 1.5}}", (2, 22, "boot.root.delay"), "a duration such as 30s"),
    "minus": ("version: 1\nboot: {root: {delay: -1}}", (2, 22, "boot.root.delay"), "not the number -1"),
    "empty value": ("version: 1\nboot:\n  init:", (3, 8, "boot.init"), "an absolute path in the real root, not empty"),
    "choice": (
        "version: 1\nboot: {root: {mode: r0}}",
        (2, 21, "boot.root.mode"),
        'ro or rw, not "r0"; did you mean "ro"?',
    ),
    "init": ("version: 1\nboot: {init: sbin/init}", (2, 14, "boot.init"), "must be an absolute path"),
    "init words": ("version: 1\nboot: {init: /sbin/init single}", (2, 14, "boot.init"), "go after -- on the kernel"),
    "no list": (
        "version: 1\nimage: {modules: ext4}",
        (2, 18, "image.modules"),
        "must be a list such as [virtio_blk, ext4]",
    ),
    "module file": (
        "version: 1\nimage: {modules: [ext4.ko.xz]}",
        (2, 19, "image.modules[0]"),
        "leave out the folder and .ko",
    ),
    "module bool": (
        "version: 1\nimage: {modules: [a, on]}",
        (2, 22, "image.modules[1]"),
        "the name of a kernel module",
    ),
    "ro option": ("version: 1\nboot: {root: {options: [ro]}}", (2, 25, "boot.root.options[0]"), "say it with `mode:`"),
    "commas": ("version: 1\nboot: {root: {options: ['a,b']}}", (2, 25, "boot.root.options[0]"), "one option each"),
    "level": (
        "version: 1\nimage: {compress: {method: xz, level: 12}}",
        (2, 39, "image.compress.level"),
        "must be 0 to 9 for xz",
    ),
    "level alone": ("version: 1\nimage: {compress: {level: 23}}", (2, 27, "image.compress.level"), "zstd 1 to 22"),
    "level none": (
        "version: 1\nimage: {compress: {method: none, level: 1}}",
        (2, 41, "image.compress.level"),
        "has no levels",
    ),
    "tag": (
        "version: 1\nboot: !!python/object:os.system {}",
        (2, 7, ""),
        "the tag !!python/object:os.system is not allowed",
    ),
    "own tag": ("version: !foo 1", (1, 10, ""), "the tag !foo is not allowed"),
    "anchor": ("version: &a 1", (1, 10, ""), "the anchor &a is not allowed"),
    "alias": ("version: 1\nboot: *a", (2, 7, ""), "the alias *a is not allowed"),
    "two documents": ("version: 1\n---\nversion: 1", (2, 1, ""), "a second document begins here"),
    "tab": ("version: 1\nboot:\n\tinit: /x", (3, 1, ""), "a tab is not allowed here"),
    "syntax": ("version: 1\nboot: [", (2, 8, ""), "this is not YAML"),
    "colon": ("version: 1\nboot: a: b", (2, 8, ""), "this is not YAML: mapping values are not allowed here"),
    "NUL": ("version: 1\nboot: \0", (2, 7, ""), "the character '\\x00' is not allowed in YAML"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_is_one_problem_with_its_place_key_and_remedy(name: str) -> None:
    text, place, said = CASES[name]
    problem = only_problem(text)
    assert problem[:3] == place
    assert said in problem.message


def test_all_mistakes_of_a_file_are_reported_at_once_in_its_order() -> None:
    problems = problems_of("version: 1\nboot: {init: x, root: {mode: yes}}\nimage: {modules: x, compres: y}\n")
    assert [p.key for p in problems] == ["boot.init", "boot.root.mode", "image.modules", "image.compres"]


def test_the_error_prints_as_compilers_do() -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(b"version: 1\nboot: {init: x}", "rootfall.yaml")
    assert str(caught.value).startswith("rootfall.yaml:2:14: boot.init: must be an absolute path")


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# only a comment\n", b"\xef\xbb\xbf"])
def test_an_empty_file_says_what_it_must_have(text: bytes) -> None:
    assert only_problem(text) == Problem(0, 0, "", "the file is empty; it must have at least the line `version: 1`")


def test_text_that_is_not_utf8_is_named() -> None:
    assert only_problem(b"version: 1\n# caf\xe9")[:2] == (2, 6)
    assert "UTF-16" in only_problem("version: 1".encode("utf-16")).message


def test_a_byte_order_mark_and_dos_lines_are_accepted() -> None:
    assert config.parse(b"\xef\xbb\xbfversion: 1\r\nboot: {}\r\n", "f") == DEFAULTS


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_a_problem_and_not_a_crash(opening: str) -> None:
    assert "nested more than 16 deep" in problems_of(opening * 5000)[-1].message


def test_an_alias_bomb_is_refused_without_growing() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    problems = problems_of("\n".join(lines))
    assert problems[-1].message.endswith("more problems")
    assert len(problems) == 51


def test_a_file_of_ten_megabytes_is_one_error_and_is_not_read_whole(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    with big.open("wb") as file:
        file.truncate(10 << 20)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        config.load(str(big))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        config.load("/dev/zero")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "none.yaml")
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory"


def test_load_gives_the_text_that_it_checked(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(WHOLE)
    assert config.load(str(path)) == (WHOLE.encode(), config.parse(WHOLE.encode(), "f"))


@given(st.text(max_size=60) | st.from_regex(r"(version|boot|image): [\[{&*!a-z0-9:, \n]{0,30}", fullmatch=True))
def test_any_text_gives_a_config_or_problems_with_a_place(text: str) -> None:
    try:
        config.parse(text.encode("utf-8", "surrogatepass"), "f")
    except ConfigError as error:
        placed = [p for p in error.problems if not p.message.startswith("the file is empty")]
    else:
        placed = []
    assert all(p.line >= 1 and p.column >= 1 and p.message for p in placed)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["ext4", "ro", "30s", "zstd", "/x", "é"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([k.path.rpartition(".")[2] for k in schema.KEYS] + list(schema.SECTIONS)), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(st.fixed_dictionaries({"version": st.just(1)}, optional={"boot": JUNK, "image": JUNK}))
def test_the_json_schema_and_the_checker_accept_the_same_files(tree: dict[str, object]) -> None:
    text = yaml.safe_dump(tree).encode()
    valid = jsonschema.Draft202012Validator(schema.json_schema()).is_valid(yaml.safe_load(text))
    try:
        config.parse(text, "f")
        accepted = True
    except ConfigError as error:
        # An anchor is what the dumper makes of an object that stands twice: no schema sees it.
        if any("anchor" in p.message for p in error.problems):
            return
        accepted = False
    assert accepted == valid


CONFIGS = st.builds(
    lambda device, options, timeout, level: Config(
        1, BootConfig(Root(device, options=options, timeout=timeout)), ImageConfig(level=level)
    ),
    st.none() | st.builds(DeviceRef, st.just("LABEL"), st.text(max_size=9), st.integers(0, 9)),
    st.lists(st.text(max_size=9), max_size=3).map(tuple),
    st.none() | st.floats(0, 1e6),
    st.none() | st.integers(0, 22),
)


@given(CONFIGS, st.binary(max_size=40))
def test_the_ready_form_gives_the_same_config_back(made: Config, text: bytes) -> None:
    read = config.read_ready(config.ready(text, made), text)
    assert read == made
    assert read is not None
    assert type(read.boot.root.device) is type(made.boot.root.device)
    assert config.read_ready(config.ready(text, made), text + b"\n") is None


@given(st.data())
def test_a_damaged_ready_form_is_never_believed(data: st.DataObject) -> None:
    blob = bytearray(config.ready(b"version: 1", DEFAULTS))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= data.draw(st.integers(1, 255))
    assert config.read_ready(bytes(blob), b"version: 1") is None
    assert config.read_ready(bytes(blob[:place]), b"version: 1") is None


@given(st.binary(max_size=60))
def test_garbage_is_not_a_ready_form(blob: bytes) -> None:
    assert config.read_ready(blob, blob) is None


def test_a_ready_form_of_another_rootfall_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = config.ready(b"version: 1", DEFAULTS)
    monkeypatch.setattr("rootfall.__version__", "9.9.9")
    assert config.read_ready(blob, b"version: 1") is None


def test_a_boot_with_a_ready_form_imports_no_parser() -> None:
    program = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
from rootfall import cmdline, config, model
made = model.Config(1, model.BootConfig(model.Root(None)), model.ImageConfig())
blob = config.ready(b"version: 1", made)
assert config.read_ready(blob, b"version: 1") == made
cmdline.override(made, cmdline.parse("root=LABEL=x ro quiet a.b=c"))
print(*sorted(set(sys.modules) - before))
"""
    init = str(Path(config.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-E", "-c", program, init], capture_output=True, text=True, check=True, timeout=30
    )
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint(
        {"yaml", "re", "enum", "json", "dataclasses", "pathlib", "inspect", "typing", "rootfall.schema"}
    )
    assert {m for m in loaded if m.startswith("rootfall")} == {
        "rootfall", "rootfall.cmdline", "rootfall.config", "rootfall.device_ref", "rootfall.errors", "rootfall.model",
        "rootfall.ready", "rootfall.record",
    }  # fmt: skip
