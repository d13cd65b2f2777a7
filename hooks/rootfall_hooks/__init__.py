# SPDX-License-Identifier: MIT
"""One module for each plug-in of an image: a build-time `install(image)` and a boot-time `perform(options, boot)`."""
