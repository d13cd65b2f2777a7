# SPDX-License-Identifier: MIT
"""The thin layer that touches the world: system calls, libblkid, udev. Decides nothing."""
