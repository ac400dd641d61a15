"""`python -m monai_mimo.cli`."""

import sys

from . import main

sys.exit(main())
