"""`python -m edgerec` is the `edgerec` command."""

import sys

from edgerec.cli import main

if __name__ == "__main__":
    sys.exit(main())
