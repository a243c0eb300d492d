import sys
from pathlib import Path

# site-packages holds a package named `tests`, so the shared helpers are imported by their own name.
sys.path.append(str(Path(__file__).parent))
