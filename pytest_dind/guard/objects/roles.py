"""The roles, in labels, of the objects that are made through a guard."""

from __future__ import annotations

CONTAINER, NETWORK, VOLUME, IMAGE = "container", "network", "volume", "image"
"""The roles of what tests make. A container inherits its image's labels, and a committed image its
container's, so the role tells a test's own objects from those that others made of them."""
SWARM = "swarm"
"""The role of services, secrets and configs."""
CLIENT = "client"
"""The role of the container in which a test's commands run: it is removed with what tests made, but
they do not see it."""
