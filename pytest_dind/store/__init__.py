"""The warm store: data-roots with images in them, made once and shared by daemons."""
