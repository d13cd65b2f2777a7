# SPDX-License-Identifier: MIT
"""Hooks in a configuration: what they declare is checked like every key, they are steps of the plan, and performed as such."""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rootfall import config, plan, schema, steps
from rootfall.console import Log
from rootfall.errors import ConfigError, HookError, MountError
from rootfall.hook import KINDS, Declared, Hooks, Option, declared
from rootfall.model import Hook
from rootfall.record import NamedTuple
from rootfall.timeline import Timeline
from rootfall_build.hooks import Available


class Options(NamedTuple):
    device: str
    times: int = 3
    deep: bool = False
    words: tuple[str, ...] = ()
    mode: str = "one"
    limit: float = 30.0


OPTIONS = (
    Option("device", "device", "What to open."),
    Option("times", "number", "How often."),
    Option("deep", "flag", "How deep."),
    Option("words", "texts", "What to say."),
    Option("mode", "one|two", "Which way."),
    Option("limit", "duration", "How long."),
)


def module(**members: object) -> Any:
    """A hook as a module: `perform` does nothing unless it is given."""
    made = types.SimpleNamespace(DOES="open it", perform=lambda options, boot: "opened")
    vars(made).update(members)
    return made


class Some(Hooks):
    """Two hooks: one that needs a device, one without options that has something to undo."""

    def __init__(self) -> None:
        self.modules = {
            "luks": module(OPTIONS=OPTIONS, Options=Options),
            "overlay": module(DOES="lay", UNDOES="lift", undo=lambda options, boot: "", BEFORE="switch"),
            "broken": module(DOES=""),
        }

    def names(self, directory: str) -> tuple[str, ...]:
        return tuple(self.modules)

    def load(self, name: str, directory: str = "") -> Declared:
        return declared(self.modules[name])


def parse(hooks: str) -> tuple[Hook, ...]:
    return config.parse(f"version: 1\nboot:\n  hooks: {hooks}\n".encode(), "f", Some()).boot.hooks


def test_hooks_keep_their_order_and_get_their_defaults() -> None:
    first, second, third = parse("[overlay, luks: {device: UUID=AB12-CD34, limit: 2m}, luks: {device: /dev/sda}]")
    assert (first.name, first.does, first.undoes, first.before, first.options) == (
        "overlay",
        "lay",
        "lift",
        "switch",
        (),
    )
    assert second.options[0] == ("device", "UUID=AB12-CD34")
    assert third.options == tuple(zip(Options._fields, Options("/dev/sda"), strict=True))


CASES = {
    "no such hook": ("[lukss]", "boot.hooks[0]", (3, 11), 'no such hook as "lukss"; did you mean "luks"?'),
    "unknown option": (
        "[luks: {device: auto, tims: 1}]",
        "boot.hooks[0].luks.tims",
        (3, 32),
        'did you mean "times"?',
    ),
    "no options at all": ("[overlay: {x: 1}]", "boot.hooks[0].overlay.x", (3, 21), "this hook has no options"),
    "a bad value": (
        "[luks: {device: auto, times: many}]",
        "boot.hooks[0].luks.times",
        (3, 39),
        'must be a whole number, not "many"',
    ),
    "a bad choice": (
        "[luks: {device: auto, mode: tow}]",
        "boot.hooks[0].luks.mode",
        (3, 38),
        'must be one or two, not "tow"; did you mean "two"?',
    ),
    "no flag": ("[luks: {device: auto, deep: 1}]", "boot.hooks[0].luks.deep", (3, 38), "must be true or false"),
    "no list": ("[luks: {device: auto, words: a}]", "boot.hooks[0].luks.words", (3, 39), "write [a]"),
    "a bad device": ("[luks: {device: UUID=1}]", "boot.hooks[0].luks.device", (3, 26), "is not a UUID"),
    "a missing option": ("[luks]", "boot.hooks[0].luks.device", (3, 11), "is missing: the hook needs it"),
    "two keys": ("[{luks: , overlay: }]", "boot.hooks[0]", (3, 11), "a mapping with 2 keys; indent the options"),
    "a number": ("[3]", "boot.hooks[0]", (3, 11), "must be a hook's name, or one name with its options"),
    "no mapping": ("[luks: 3]", "boot.hooks[0].luks", (3, 17), "must be a mapping, not the number 3"),
    "twice": (
        "[luks: {device: auto, deep: true, deep: false}]",
        "boot.hooks[0].luks.deep",
        (3, 44),
        "is given twice",
    ),
    "no list of hooks": ("luks", "boot.hooks", (3, 10), "must be a list such as [udevd,"),
    "a hook that is none": ("[broken]", "boot.hooks[0]", (3, 11), "the hook broken is not usable: it has no `perform`"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_has_its_place_its_key_and_its_remedy(name: str) -> None:
    text, key, place, said = CASES[name]
    with pytest.raises(ConfigError) as caught:
        parse(text)
    problems = caught.value.problems
    assert [(each.key, (each.line, each.column)) for each in problems[:1]] == [(key, place)]
    assert said in problems[0].message


def test_all_mistakes_of_a_list_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("[lukss, luks: {times: -1, limit: soon}]")
    assert len(caught.value.problems) == 4  # the device is missing, too


VALUES = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["auto", "UUID=x", "2m", "one", "three", "é"])
TREES = VALUES | st.lists(VALUES, max_size=2)
USES = st.sampled_from(["luks", "overlay", "other"]) | st.dictionaries(
    st.sampled_from(["luks", "overlay", "other"]),
    VALUES | st.dictionaries(st.sampled_from([*Options._fields, "x"]), TREES, max_size=4),
    max_size=2,
)


class Sound(Some):
    """The same, without the one that is none."""

    def names(self, directory: str) -> tuple[str, ...]:
        return ("luks", "overlay")


VALIDATOR = jsonschema.Draft202012Validator(schema.json_schema(Sound()))


@given(st.lists(USES | VALUES, max_size=3))
def test_the_json_schema_and_the_checker_accept_the_same_lists(hooks: list[object]) -> None:
    text = yaml.safe_dump({"version": 1, "boot": {"hooks": hooks}})
    try:
        config.parse(text.encode(), "f", Sound())
        accepted = True
    except ConfigError as error:
        if any("anchor" in each.message for each in error.problems):
            return
        accepted = False
    assert accepted == VALIDATOR.is_valid(yaml.safe_load(text))


def test_the_ready_form_holds_the_hooks() -> None:
    text = b"version: 1\nboot: {hooks: [overlay, luks: {device: auto, words: [a, b]}]}\n"
    made = config.parse(text, "f", Some())
    assert config.read_ready(config.ready(text, made), text) == made


def test_a_plan_performs_hooks_in_order_and_undoes_them_in_reverse() -> None:
    text = b"version: 1\nboot: {root: /dev/vda, hooks: [overlay, luks: {device: auto}, overlay]}"
    text = text.replace(b"root: /dev/vda", b"root: {device: /dev/vda}")
    made = plan.make_plan(config.parse(text, "f", Some()))
    assert [type(each).__name__ for each in made.steps] == [
        "LoadModules", "RunHook", "FindRoot", "MountRoot", "RunHook", "RunHook", "UndoHook", "UndoHook",
    ]  # fmt: skip
    assert plan.stages(made) == ("modules", "hook", "device", "mount", "undo", "switch")
    lines = str(made).splitlines()
    assert lines[1] == "2. hook luks: open it"
    assert lines[6] == "7. hook overlay: lift"


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], steps.Boot]:
    """`boot(module)` is a boot whose only hook is that module."""

    def make(hook: Any) -> steps.Boot:
        monkeypatch.setattr(Hooks, "load", lambda self, name, directory="": declared(hook))
        return steps.Boot(Log(), Timeline())

    return make


def test_a_hook_is_timed_and_gets_its_options(boot: Callable[[Any], steps.Boot]) -> None:
    got: list[object] = []
    hook = module(OPTIONS=OPTIONS, Options=Options, perform=lambda options, this: got.append(options))
    this = boot(hook)
    steps.perform(plan.RunHook("luks", (("device", "auto"), ("times", 4))), this)
    assert got == [Options("auto", 4)]
    assert [(span.name, span.detail) for span in this.timeline.spans] == [
        ("hook luks", "hook: perform luks: done"),
    ]


def test_whatever_a_hook_raises_is_an_error_that_names_it(boot: Callable[[Any], steps.Boot]) -> None:
    def fail(options: object, this: object) -> None:
        raise PermissionError(13, "Permission denied", "/dev/x")

    this = boot(module(perform=fail, UNDOES="close", undo=fail))
    with pytest.raises(HookError) as caught:
        steps.perform(plan.RunHook("site"), this)
    assert (caught.value.attempted, caught.value.subject, caught.value.errno) == ("perform the hook", "site", 13)
    assert "/dev/x" in caught.value.seen
    with pytest.raises(HookError) as second:
        steps.perform(plan.UndoHook("site"), this)
    assert second.value.attempted == "undo the hook"


def test_an_error_of_rootfall_s_own_is_passed_on(boot: Callable[[Any], steps.Boot]) -> None:
    def fail(options: object, this: object) -> None:
        raise MountError("mount the root", "it")

    with pytest.raises(MountError):
        steps.perform(plan.RunHook("site"), boot(module(perform=fail)))


def test_only_what_was_begun_is_undone_and_that_once(boot: Callable[[Any], steps.Boot]) -> None:
    done: list[str] = []
    this = boot(
        module(
            perform=lambda options, this: done.append("perform"),
            UNDOES="undo it",
            undo=lambda options, this: done.append("undo"),
        )
    )
    wanted = plan.Plan((plan.RunHook("a"), plan.UndoHook("a", (), "undo it")), plan.SwitchRoot("/sysroot", "/init"))
    steps.undo_hooks(wanted, this)
    assert done == []
    steps.perform(wanted.steps[0], this)
    steps.undo_hooks(wanted, this)  # as from the emergency shell
    steps.perform(wanted.steps[1], this)
    assert done == ["perform", "undo"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"DOES": ""}, "no DOES"),
        ({"undo": print}, "not both"),
        ({"UNDOES": "x"}, "not both"),
        ({"BEFORE": "lunch"}, "not one of device, switch"),
        ({"OPTIONS": OPTIONS[:2], "Options": Options}, "not the same"),
        ({"OPTIONS": (Option("device", "thing", ""), *OPTIONS[1:]), "Options": Options}, "no kind of option thing"),
        ({"OPTIONS": OPTIONS}, "no NamedTuple Options"),
    ],
)
def test_a_module_that_is_no_hook_is_refused_with_the_reason(members: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        declared(module(**members))


def test_the_kinds_of_options_are_those_of_the_schema() -> None:
    assert tuple(schema.OPTION_KINDS) == KINDS


@pytest.mark.parametrize("name", Available(Path()).names(""))
def test_each_hook_of_rootfall_s_own_declares_what_the_schema_knows(name: str) -> None:
    found = Hooks().load(name)
    assert [schema.option_kind(each.kind) for each in found.options]
    assert schema.options_table(Hooks(), name).count("\n") == len(found.options) + 2
    assert all(each.description.endswith(".") for each in found.options)
