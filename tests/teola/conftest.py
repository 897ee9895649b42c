"""Makes the stand-in for a server importable by the tests below."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
