"""``python -m robustradar``."""

from robustradar.cli import main

if __name__ == "__main__":
    main()
