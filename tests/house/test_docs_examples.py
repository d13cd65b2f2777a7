# SPDX-License-Identifier: MIT
"""What the documents show is true: each configuration is valid, and the reference is the table in the program."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from rootfall import config, schema
from rootfall.container import config as container_config
from rootfall.container import defaults, option_table, options, plan
from rootfall.errors import ConfigError
from rootfall.hook import Hooks
from rootfall_build.hooks import Available
from tests.house import site_hook

HOUSE = Path(__file__).parents[2]
DOCUMENTS = sorted([*HOUSE.glob("docs/**/*.md"), *HOUSE.glob("README.md")])
EXAMPLES = sorted(HOUSE.glob("examples/*.yaml"))
MANUAL = HOUSE / "docs/container-run.md"


def of_a_container(text: str) -> bool:
    """A file for `rootfall container run --config`, and not for a boot."""
    return re.search("^(root|process):", text, re.MULTILINE) is not None


def snippets(container: bool = False) -> list[tuple[str, str]]:
    """Each whole configuration in the documents, of a boot or of a container, with the place where it begins."""
    found = [(str(path.relative_to(HOUSE)), path.read_text()) for path in EXAMPLES]
    for path in DOCUMENTS:
        text = path.read_text()
        for block in re.finditer(r"^```yaml\n(version:.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text[: block.start(1)].count("\n") + 1
            found.append((f"{path.relative_to(HOUSE)}:{line}", block[1]))
    return [each for each in found if of_a_container(each[1]) == container]


@pytest.mark.parametrize(("place", "text"), snippets(), ids=[place for place, _ in snippets()])
def test_each_configuration_shown_is_valid_for_the_schema_and_the_loader(place: str, text: str, tmp_path: Path) -> None:
    site_hook.write(tmp_path)
    hooks = Available(tmp_path)
    jsonschema.Draft202012Validator(schema.json_schema(hooks, "hooks")).validate(yaml.safe_load(text))
    assert config.parse(text.encode(), place, hooks).version == 1


@pytest.mark.parametrize(
    ("place", "text"), snippets(container=True), ids=[place for place, _ in snippets(container=True)]
)
def test_each_containers_file_shown_is_valid_for_the_schema_and_the_loader(place: str, text: str) -> None:
    jsonschema.Draft202012Validator(container_config.json_schema()).validate(yaml.safe_load(text))
    assert container_config.parse(text.encode(), place)["root.path"]


def test_there_are_configurations_to_check() -> None:
    places = [place for place, _ in snippets()]
    assert any(place.startswith("docs/configuration.md") for place in places)
    assert any(place.startswith("examples/") for place in places)
    containers = [place for place, _ in snippets(container=True)]
    assert "examples/container.yaml" in containers
    assert any(place.startswith("docs/container-run.md") for place in containers)


def test_the_schema_is_a_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.json_schema())


def test_the_reference_in_the_documents_is_the_table_in_the_program() -> None:
    assert schema.reference_table() in (HOUSE / "docs/configuration.md").read_text()


def test_the_options_of_each_hook_in_the_documents_are_those_that_it_declares() -> None:
    text = (HOUSE / "docs/hooks.md").read_text()
    for name in Hooks().names(""):
        assert f"\n## {name}\n" in text
        assert schema.options_table(Hooks(), name) in text


def test_the_messages_in_the_documents_are_what_the_loader_says() -> None:
    bad = """\
version: 1
boot:
  root:
    device: UUID=0a3407de-014b-458b-b5c1-848e92a327a
    tiemout: 30s
    mode: r0
  on_failure: {after: 1:30}
image:
  modules: ext4
"""
    with pytest.raises(ConfigError) as caught:
        config.parse(bad.encode(), "boot.yaml")
    assert f"```\n{caught.value}\n```" in (HOUSE / "docs/configuration.md").read_text()


def test_the_options_in_the_manual_are_the_table_in_the_program() -> None:
    assert option_table.table() in MANUAL.read_text()


def test_the_messages_about_a_containers_file_are_what_the_loader_says() -> None:
    bad = """\
version: 1
root: {path: root, overlay: volatil}
process:
  args: sh
  umask: 022
  rlimts: []
"""
    with pytest.raises(ConfigError) as caught:
        container_config.parse(bad.encode(), "c.yaml")
    assert f"```\n{caught.value}\n```" in MANUAL.read_text()


def test_the_plan_in_the_manual_is_one() -> None:
    words = "--volatile --memory 64M --hostname try --tmpfs /tmp:size=1M --ro-bind /src:/work --unmask ALL --mask /etc/shadow"
    line = options.parse([*words.split(), "/srv/root", "id", "-u"])
    caller = defaults.Caller(1000, 1000, 4711, {}, lambda kind: ())
    assert (
        f"```\n{plan.make_plan(defaults.make(line.asked, line.root, line.command, caller))}\n```" in MANUAL.read_text()
    )
