# SPDX-License-Identifier: MIT
"""Boots images in QEMU: machines as records, disks made without root, a console to expect on, and a pytest plug-in."""
