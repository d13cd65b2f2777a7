# SPDX-License-Identifier: MIT
"""The container mode: namespaces, cgroups and a root that is entered with pivot_root. `launch` is its story."""
