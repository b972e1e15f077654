"""`python -m gradfix`, and the console script."""

from gradfix.cli import main

if __name__ == "__main__":
    main()
