# SPDX-License-Identifier: MIT
"""The command line of `rootfall container run`, by the table of options: words into what they ask for. Pure.

No argparse: that costs 7 ms, half of what a whole run may take. What is asked for is a dict, from the keys' paths to values;
`defaults` makes a Container of it.
"""

from rootfall.container.forms import WrongError
from rootfall.container.option_table import GROUPS, Option, rows
from rootfall.errors import ContainerError
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    Asked = dict[str, object]

# What people will type who come from elsewhere.
_ELSEWHERE = {
    "--rm": "nothing is left of a container when its command ends: leave it out",
    "--interactive": "standard input is always passed on: leave it out",
    "-i": "standard input is always passed on: leave it out",
    "-it": "write -t; standard input is always passed on",
    "--privileged": "say what it needs: --cap-add ALL --seccomp unconfined --unmask ALL",
    "--die-with-parent": "a container never outlives its launcher: leave it out",
    "--new-session": "the command always leads a session of its own: leave it out",
    "--chdir": "write --cwd",
    "--unshare-all": "all namespaces but user and time are made by default",
    "--mount": "write --bind or --tmpfs",
    "--detach": "there is no daemon: use your shell's &",
    "-d": "there is no daemon: use your shell's &",
    "--publish": "the network is none or the host's",
    "-p": "the network is none or the host's",
}


class Line(NamedTuple):
    """A command line as it was read: what it asks for, the root and the command, where they are said."""

    asked: "Asked"
    root: str = ""
    command: tuple[str, ...] = ()


def find(name: str) -> "tuple[Option, str] | None":
    """The option of a name, and what it says without a value: "yes", "no" for --no-…, "" where it needs one."""
    for _, group in GROUPS:
        for names, form, key, text in group:
            if name in names and name in names.split():
                option = Option(tuple(names.split()), form, key.rstrip("+"), key.endswith("+"), text)
                return option, "" if form.metavar else "yes"
    if name.startswith("--no-") and (found := find("--" + name[5:])) and not found[0].form.metavar:
        return found[0], "no"
    return None


def parse(words: "list[str]") -> Line:
    """The words after `container run`. Raises ContainerError with what is wrong and what is right."""
    asked: Asked = {}
    left = list(words)
    while left and left[0].startswith("-") and left[0] != "-":
        word = left.pop(0)
        if word == "--":
            # With a file that names the root, what follows is the command.
            return Line(asked, "", tuple(left)) if "config" in asked else _positional(asked, left)
        name, given, value = word.partition("=")
        found = find(name)
        if found is None:
            raise ContainerError("use", name, seen="no such option", hint=_meant(name))
        option, implied = found
        if not given and implied:
            value = implied
        elif not given:
            if not left:
                raise _wrong(option, name, None, "")
            value = left.pop(0)
        put(asked, option, _read(option, name, value, implied == "no" and given != ""))
    return _positional(asked, left)


def _positional(asked: "Asked", left: "list[str]") -> Line:
    root, command = (left[0], left[1:]) if left else ("", [])
    return Line(asked, root, tuple(command[1:] if command[:1] == ["--"] else command))


def put(asked: "Asked", option: Option, value: object) -> None:
    """Say what an option says: set its key, add to it, or set several."""
    if isinstance(value, dict):
        asked.update(value)
    elif option.adds:
        before = asked.get(option.key, ())
        assert isinstance(before, tuple)
        asked[option.key] = (*before, value)
    else:
        asked[option.key] = value


def _read(option: Option, name: str, value: str, twice: bool) -> object:
    try:
        if twice:  # --no-dev=no: what would that be?
            raise ValueError
        read = option.form.read(value)
    except ValueError as error:
        raise _wrong(option, name, value, str(error) if isinstance(error, WrongError) else "") from None
    if read is None:
        raise _wrong(option, name, value, "")
    return read


def _wrong(option: Option, name: str, value: str | None, why: str) -> ContainerError:
    if value is None:
        return ContainerError("use", name, seen="no value", hint=f"allowed: {option.form.allowed}")
    hint = f"{why}; allowed: {option.form.allowed}" if why else f"allowed: {option.form.allowed}"
    return ContainerError("use", f"{name}={value}", hint=hint)


def _meant(name: str) -> str:
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    from rootfall.similar import near

    known = {each.replace("-", "_"): each for option in rows() for each in option.names if each.startswith("--")}
    guess = near(name.replace("-", "_"), tuple(known))
    return f"did you mean {known[guess]}?" if guess else "rootfall container run --help names all there are"
