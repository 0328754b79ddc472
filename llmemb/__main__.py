"""`python -m llmemb`."""

from llmemb.cli import main

if __name__ == "__main__":
    main()
