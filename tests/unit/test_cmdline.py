# SPDX-License-Identifier: MIT
"""The kernel command line: split as the kernel splits it, and laid over the configuration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfall import cmdline
from rootfall.cmdline import FOREVER, Cmdline, Parameter
from rootfall.errors import CommandLineError
from rootfall.model import BootConfig, Config, DeviceRef, ImageConfig, OnFailure, Root

CONFIG = Config(1, BootConfig(Root(DeviceRef("LABEL", "file"), "xfs", ("noatime",))), ImageConfig())


def root_of(text: str) -> Root:
    return cmdline.override(CONFIG, cmdline.parse(text)).boot.root


# Each worked out by hand from next_arg in the kernel's lib/cmdline.c.
@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", []),
        (" \t\n", []),
        ("quiet", [("quiet", None)]),
        ("  a  b=c\n", [("a", None), ("b", "c")]),
        ("a=", [("a", "")]),
        ("a=b=c", [("a", "b=c")]),
        ("=a", [("=a", None)]),
        ("=a=b", [("=a", "b")]),
        ('a="b c" d', [("a", "b c"), ("d", None)]),
        ('"a=b c" d', [("a", "b c"), ("d", None)]),
        ('"a b" c', [("a b", None), ("c", None)]),
        ('"a="b c"" d', [("a", "b"), ('c""', None), ("d", None)]),
        ('a=x"b c"d e', [("a", 'x"b c"d'), ("e", None)]),
        ('a="b c', [("a", "b c")]),
        ('a="', [("a", "")]),
        ('"', [("", None)]),
        ('""', [("", None)]),
        ('root=LABEL="a b" x', [("root", 'LABEL="a b"'), ("x", None)]),
        ("--x", [("--x", None)]),
    ],
)
def test_the_line_is_split_as_the_kernel_splits_it(text: str, parameters: list[tuple[str, str | None]]) -> None:
    assert cmdline.split(text) == (parameters, [])


def test_what_follows_two_dashes_is_for_init_alone() -> None:
    before, after = cmdline.split('quiet -- root=/dev/sda "a b" c="d e" -- lost')
    assert before == [Parameter("quiet", None)]
    assert list(map(str, after)) == ["root=/dev/sda", "a b", "c=d e"]
    assert cmdline.parse("quiet -- root=/dev/sda").root is None


def test_each_parameter_that_rootfall_owns_is_read() -> None:
    read = cmdline.parse(
        "root=UUID=x rootfstype=ext4,xfs rootflags=noatime,commit=5 rw rootwait=9 rootdelay=0x10 init=/bin/sh quiet "
        "debug panic=-1 rd.break=mount rd.break rootfall.trace modprobe.blacklist=a-b,c rd.driver.blacklist=d "
        "rd.driver.pre=e-f,g rd.driver.post=h "
        'virtio-net.napi_tx=1 virtio_net.x="p q" usbcore.nousb BOOT_IMAGE=/vmlinuz single -- 3'
    )
    assert read == Cmdline(
        root="UUID=x",
        fstype="ext4,xfs",
        flags=("noatime", "commit=5"),
        mode="rw",
        rootwait=9,
        rootdelay=16,
        init="/bin/sh",
        panic=-1,
        quiet=True,
        debug=True,
        trace=True,
        break_at=("mount", ""),
        modules=("e_f", "g", "h"),
        blacklist=("a_b", "c", "d"),
        module_options=(("virtio_net", 'napi_tx=1 x="p q"'), ("usbcore", "nousb")),
        arguments=("single",),
        environment=(("BOOT_IMAGE", "/vmlinuz"),),
        init_arguments=("3",),
    )


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("root=/dev/sda root=/dev/vda1", DeviceRef("PATH", "/dev/vda1")),
        ("root=bad root=8:1", DeviceRef("DEVNUM", "8:1")),
        ("root=0801", DeviceRef("DEVNUM", "8:1")),
        ("root=fd00", DeviceRef("DEVNUM", "253:0")),
        ("root=10301", DeviceRef("DEVNUM", "259:1")),
        ('root=LABEL="my disk"', DeviceRef("LABEL", "my disk")),
        ('root="LABEL=my disk"', DeviceRef("LABEL", "my disk")),
        ('"root=LABEL=my disk"', DeviceRef("LABEL", "my disk")),
        ("root=PARTUUID=deadbeef-01/PARTNROFF=1", DeviceRef("PARTUUID", "deadbeef-01", 1)),
        ("quiet", DeviceRef("LABEL", "file")),
        ("root=", DeviceRef("LABEL", "file")),
    ],
)
def test_root_names_the_device_and_the_last_one_wins(text: str, root: DeviceRef) -> None:
    assert root_of(text).device == root


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("UUID=nonsense", "is not a UUID"),
        ("/dev/nfs", "a root on NFS is not supported"),
        ("nfs:10.0.0.1:/x", "is not supported"),
        ("ZFS=tank/root", "is not supported"),
        ("sda1", "does not name a device"),
    ],
)
def test_a_root_that_names_no_device_is_an_error_that_names_the_parameter(value: str, said: str) -> None:
    with pytest.raises(CommandLineError) as caught:
        root_of(f"root={value}")
    assert str(caught.value).startswith(f"cannot use the kernel parameter root={value}; seen: ")
    assert said in str(caught.value)


def test_the_command_line_overrides_the_file_and_leaves_the_rest() -> None:
    overridden = cmdline.override(
        CONFIG, cmdline.parse("rw ro rw rootflags=a,b rootwait rootdelay=3 init=/bin/sh panic=5")
    )
    root = Root(DeviceRef("LABEL", "file"), "xfs", ("a", "b"), "rw", None, 3)
    assert overridden == Config(1, BootConfig(root, "/bin/sh", OnFailure("reboot", 5)), ImageConfig())
    assert cmdline.override(CONFIG, Cmdline()) == CONFIG


@pytest.mark.parametrize(
    ("text", "wait"), [("rootwait", None), ("rootwait=7", 7), ("rootwait rootwait=7", 7), ("x", 30)]
)
def test_rootwait_is_the_timeout(text: str, wait: float | None) -> None:
    assert root_of(text).timeout == wait
    assert (cmdline.parse(text).rootwait == FOREVER) == (wait is None)


@pytest.mark.parametrize(
    ("text", "action"),
    [("panic=0", OnFailure()), ("panic=10", OnFailure("reboot", 10)), ("panic=-1", OnFailure("reboot", 0))],
)
def test_panic_decides_what_a_failure_does(text: str, action: OnFailure) -> None:
    assert cmdline.on_failure(OnFailure(), cmdline.parse(text)) == action


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("rootdelay=abc", "rootdelay=abc: ignored: it is not a number of seconds"),
        ("rootdelay=-1", "rootdelay=-1: ignored: it is not a number of seconds"),
        ("rootdelay=1_0", "rootdelay=1_0: ignored: it is not a number of seconds"),
        ("rootdelay=٣", "rootdelay=٣: ignored: it is not a number of seconds"),
        ("rootwait=5s", "rootwait=5s: ignored: it is not a number of seconds"),
        ("panic=x", "panic=x: ignored: it is not a number of seconds"),
        ("panic=99999999999", "panic=99999999999: ignored: it is not a number of seconds"),
        ("init=", "init=: ignored: it has no value"),
        ("root", "root: ignored: it has no value"),
        ("ro=1", "ro=1: ignored: it takes no value"),
    ],
)
def test_a_slip_that_need_not_cost_the_boot_is_a_warning(text: str, warning: str) -> None:
    read = cmdline.parse(text)
    assert read == Cmdline(warnings=(warning,))
    assert cmdline.override(CONFIG, read) == CONFIG


@pytest.mark.parametrize(("text", "number"), [("10", 10), ("010", 8), ("0x10", 16), ("0", 0), ("00", 0)])
def test_a_number_has_the_bases_of_the_kernel(text: str, number: int) -> None:
    assert cmdline.parse(f"rootdelay={text}").rootdelay == number


def test_dash_and_underscore_are_equal_in_names() -> None:
    assert cmdline.parse("modprobe.blacklist=x-y my-mod.a-b=c").module_options == (("my_mod", "a-b=c"),)


def test_a_relative_init_is_below_the_root_as_for_the_kernel() -> None:
    assert cmdline.parse("init=bin/sh").init == "/bin/sh"


def test_mount_options_keep_commas_in_quotes() -> None:
    assert cmdline.parse('rootflags=a,context="u:r,c2",,b').flags == ("a", 'context="u:r,c2"', "b")


def test_init_gets_the_arguments_that_the_kernel_gave_us() -> None:
    assert cmdline.init_argv("/sbin/init", ["/init", "single", "ro"]) == ("/sbin/init", "single", "ro")


def test_init_gets_the_environment_of_the_kernel_and_nothing_of_ours() -> None:
    environ = {
        "HOME": "/",
        "TERM": "linux",
        "FOO": "a b",
        "rootwait": "5",
        "LD_LIBRARY_PATH": "/_internal",
        "_PYI_APPLICATION_HOME_DIR": "/_internal",
        "_PYI_PARENT_PROCESS_LEVEL": "1",
        "_MEIPASS2": "/x",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": "/user",
    }
    read = cmdline.parse('FOO="a b" rootwait=5 PYTHONPATH=/user')
    assert cmdline.init_environment(environ, read) == {
        "HOME": "/",
        "TERM": "linux",
        "FOO": "a b",
        "PYTHONPATH": "/user",
    }


def test_a_library_path_from_the_command_line_is_put_back() -> None:
    environ = {"LD_LIBRARY_PATH": "/_internal:/own", "LD_LIBRARY_PATH_ORIG": "/own"}
    assert cmdline.init_environment(environ, cmdline.parse("LD_LIBRARY_PATH=/own")) == {"LD_LIBRARY_PATH": "/own"}


def test_what_the_kernel_would_hand_to_init_is_told_from_the_text() -> None:
    argv, environment = cmdline.from_text(
        "early console=ttyS0 ro init=/sbin/init single a.b FOO=1 FOO=2 quiet -- -x y=z"
    )
    assert argv == ("single", "-x", "y=z")
    assert environment == {"HOME": "/", "TERM": "linux", "FOO": "2"}


@given(st.text(alphabet='ab=" -.,_0\t\nroitw/é', max_size=40) | st.text(max_size=40))
def test_no_command_line_is_too_strange_to_read(text: str) -> None:
    cmdline.from_text(text)
    try:
        cmdline.override(CONFIG, cmdline.parse(text))
    except CommandLineError as error:
        assert error.subject.startswith("root=")  # noqa: PT017  # only some texts raise


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.text(alphabet="ab =-'", max_size=8), max_size=4)
)
def test_quoted_values_come_back_as_they_were(pairs: dict[str, str]) -> None:
    inner = " ".join(f'{name}="{value}"' for name, value in pairs.items())
    outer = " ".join(f'"{name}={value}"' for name, value in pairs.items())
    for text in (inner, outer):
        assert cmdline.split(text)[0] == [Parameter(name, value) for name, value in pairs.items()]
