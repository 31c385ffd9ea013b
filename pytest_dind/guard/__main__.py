"""`python -m pytest_dind.guard`: the guard's process, which `process.start` starts."""

import sys

from .process import main

if __name__ == "__main__":
    main(sys.argv[1:])
