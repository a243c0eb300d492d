"""How the tests of checks look at one."""


def look(kind, tmp_path):
    """States, all texts and all fixes of a check."""
    found = list(kind(tmp_path).findings())
    assert found
    texts, fixes = ' / '.join(f.text for f in found), ' / '.join(f.fix or '' for f in found)
    return [finding.state for finding in found], texts, fixes
