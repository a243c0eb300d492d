"""Errors in one line."""


def one_line(error: BaseException) -> str:
    """Kind of an error and the first line of its message."""
    return f'{type(error).__name__}: {error}'.splitlines()[0]
