"""The resources that tests make in a daemon: their inventory, their makers, and their removal."""
