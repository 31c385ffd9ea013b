"""The backends: a module for each mode in which daemons are made, and the parts they share."""
