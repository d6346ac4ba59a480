"""`python -m edgerec` is the `edgerec` command."""

import sys
from importlib import import_module

if __name__ == "__main__":
    sys.exit(import_module("edgerec.cli").main())
