"""What works on an engine, mode by mode: a small suite, its runs, and the table of them."""
