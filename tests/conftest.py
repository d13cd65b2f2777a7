# SPDX-License-Identifier: MIT
"""Fixtures for the tests that boot: the plug-in that users get too, and a kernel."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from rootfall_qemu.debian import DebianKernel

# No test is timed: a loaded machine must not fail one.
settings.register_profile("rootfall", deadline=None)
settings.load_profile("rootfall")

# Named as its entry point, so that it is loaded once whether or not rootfall is installed.
pytest_plugins = ["rootfall_qemu.pytest_plugin"]


@pytest.fixture(scope="session")
def kernel() -> "DebianKernel":
    """Debian's 6.1, the oldest kernel that is tested."""
    debian = pytest.importorskip("rootfall_qemu.debian", reason="rootfall_qemu.debian fetches the kernels")
    fetched: DebianKernel = debian.fetch_kernel("6.1")
    return fetched
