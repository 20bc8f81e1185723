"""``python -m training.profiling``: what ``python reproduce.py profile`` runs."""

import sys

from training.profiling.command import main

if __name__ == "__main__":
    sys.exit(main())
