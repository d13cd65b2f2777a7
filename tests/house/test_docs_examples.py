# SPDX-License-Identifier: MIT
"""What the documents show is true: each configuration is valid, and the reference is the table in the program."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from rootfall import config, schema
from rootfall.errors import ConfigError
from rootfall.hook import Hooks
from rootfall_build.hooks import Available
from tests.house import site_hook

HOUSE = Path(__file__).parents[2]
DOCUMENTS = sorted([*HOUSE.glob("docs/**/*.md"), *HOUSE.glob("README.md")])
EXAMPLES = sorted(HOUSE.glob("examples/*.yaml"))


def snippets() -> list[tuple[str, str]]:
    """Each whole configuration in the documents, with the place where it begins."""
    found = [(str(path.relative_to(HOUSE)), path.read_text()) for path in EXAMPLES]
    for path in DOCUMENTS:
        text = path.read_text()
        for block in re.finditer(r"^```yaml\n(version:.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text[: block.start(1)].count("\n") + 1
            found.append((f"{path.relative_to(HOUSE)}:{line}", block[1]))
    return found


@pytest.mark.parametrize(("place", "text"), snippets(), ids=[place for place, _ in snippets()])
def test_each_configuration_shown_is_valid_for_the_schema_and_the_loader(place: str, text: str, tmp_path: Path) -> None:
    site_hook.write(tmp_path)
    hooks = Available(tmp_path)
    jsonschema.Draft202012Validator(schema.json_schema(hooks, "hooks")).validate(yaml.safe_load(text))
    assert config.parse(text.encode(), place, hooks).version == 1


def test_there_are_configurations_to_check() -> None:
    places = [place for place, _ in snippets()]
    assert any(place.startswith("docs/configuration.md") for place in places)
    assert any(place.startswith("examples/") for place in places)


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
