"""docs/commands.md says what the parsers say, and what it shows can be typed."""

import re
import shlex
from pathlib import Path

from knowswap_mm.cli.main import build_parser, find_commands

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / 'docs' / 'commands.md').read_text()
ROWS = re.findall(r'^\| `([a-z-]+)` \| (.*?) \| `(knowswap .*?)` \|$', PAGE, re.MULTILINE)


def test_the_table_is_that_of_the_parsers():
    found = [(name, text) for name, text, _ in ROWS]
    assert found == [(name, command.help) for name, command in find_commands().items()]


def test_every_example_can_be_typed_in_the_repository():
    for name, _, example in ROWS:
        program, typed, *arguments = shlex.split(example)
        assert (program, typed) == ('knowswap', name)
        build_parser().parse_args([typed, *arguments])
        for word in arguments:
            path = word.rpartition('=')[2]
            if path.startswith('configs/'):
                assert (REPOSITORY / path).is_file(), path


def test_other_pages_name_commands_that_exist():
    pages = [REPOSITORY / 'README.md', *(REPOSITORY / 'docs').glob('*.md')]
    named = {
        name
        for page in pages
        for name in re.findall(r'`knowswap ([a-z-]+)|^ +knowswap ([a-z-]+)', page.read_text(), re.M)
        for name in name
        if name
    }
    assert named and named <= set(find_commands())
