"""``python -m anysize``."""

import sys

from anysize.cli import main

if __name__ == "__main__":
    sys.exit(main())
