"""Reads a page as a strict parser does."""

from html.parser import HTMLParser

VOID = {'meta', 'img', 'br', 'hr', 'link', 'input'}


class Page(HTMLParser):
    """All elements of a page with their attributes; ``problems`` are tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.problems: list[str] = []
        self.text = ''
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f'<{tag}> is not closed' for tag in self._open]

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.problems.append(f'</{tag}> closes another element')

    def handle_data(self, data):
        self.text += data

    def attributes(self, name):
        """Values of an attribute over all elements."""
        return [attributes[name] for _, attributes in self.elements if name in attributes]

    def of(self, tag):
        """Attributes of the elements of a kind."""
        return [attributes for each, attributes in self.elements if each == tag]
