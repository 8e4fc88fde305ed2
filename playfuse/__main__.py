"""`python -m playfuse`: the same as the console script."""

from playfuse.cli import main

if __name__ == "__main__":
    main()
