# SPDX-License-Identifier: MIT
"""Fixtures for the tests that boot: the plug-in that users get too, and a kernel."""

import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from rootfall_qemu.debian import DebianKernel

# No example has to be quick: machines that run tests are busy.
hypothesis.settings.register_profile("rootfall", deadline=None)
hypothesis.settings.load_profile("rootfall")

# Named as its entry point, so that it is loaded once whether or not rootfall is installed.
pytest_plugins = ["rootfall_qemu.pytest_plugin"]

# nohup(1), and `make test &` in a script, ignore them, and so would all that the tests start: a shell cannot even trap them.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def kernel() -> "DebianKernel":
    """Debian's 6.1, the oldest kernel that is tested."""
    debian = pytest.importorskip("rootfall_qemu.debian", reason="rootfall_qemu.debian fetches the kernels")
    fetched: DebianKernel = debian.fetch_kernel("6.1")
    return fetched
