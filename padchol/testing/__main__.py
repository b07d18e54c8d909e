"""`python -m padchol.testing`: see `padchol.testing`."""

import sys

from padchol.testing._run import main

if __name__ == "__main__":
    sys.exit(main())
