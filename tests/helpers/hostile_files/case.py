"""Named cases."""


class Cases(dict):
    """Functions that write a file, by its name."""

    def case(self, name):
        """Register a function under the name of the file that it writes."""

        def register(write):
            assert name not in self, name
            self[name] = write
            return write

        return register
