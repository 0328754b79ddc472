"""Print every performance target and the last measured value: `python -m benchmarks.aims`."""

from benchmarks.results import aims, read_all

if __name__ == "__main__":
    print("\n".join(aims(read_all())))
