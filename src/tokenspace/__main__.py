"""`python -m tokenspace` is the command `tokenspace`."""

from __future__ import annotations

from tokenspace.cli import main

if __name__ == "__main__":
    main()
