# SPDX-License-Identifier: MIT
"""Hooks that boot tests put into images (`image.hooks_from`): what a site might do, or what a machine might suffer."""

from pathlib import Path

HERE = Path(__file__).parent
