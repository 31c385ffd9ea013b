"""The roles, as labels have them, of what is made through a guard."""

from __future__ import annotations

CONTAINER, NETWORK, VOLUME, IMAGE = "container", "network", "volume", "image"
"""The roles of what tests make. A container takes over its image's labels, and an image those of
the container it was committed from, so the role tells them from what somebody else made of them."""
CLIENT = "client"
"""The role of the container in which a test's commands run: it is removed with what tests made, but
they do not see it."""
