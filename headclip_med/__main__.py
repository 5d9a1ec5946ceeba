"""``python -m headclip_med``: the command line."""

import sys

from headclip_med.cli import main

sys.exit(main())
