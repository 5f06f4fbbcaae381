"""``python -m recloser`` is the ``recloser`` command."""

import sys

from recloser.cli import main

if __name__ == "__main__":
    sys.exit(main())
