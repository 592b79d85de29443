"""`python -m kaiffin`: the command line."""

import sys

from kaiffin.cli.main import main

sys.exit(main())
