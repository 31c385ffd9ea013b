"""The kinds of images that nodes are made of: a module for each, and how an image's is found."""
