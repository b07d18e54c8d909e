"""`python -m padchol`: see `padchol.cli`."""

import sys

from padchol.cli import main

sys.exit(main())
