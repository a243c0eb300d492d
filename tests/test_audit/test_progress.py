import pytest

from knowswap_mm.audit.progress import Progress


@pytest.fixture
def audit():
    """An audit of two parts, with a clock that the test sets."""
    now, lines = [0.0], []
    progress = Progress(lines.append, every=10, clock=lambda: now[0])
    progress.begin([('First', 100), ('Second', 300)], shared=50)
    return progress, now, lines


def test_time_left_by_hand(audit):
    progress, now, lines = audit
    progress.next()
    assert progress.left() is None and lines == ['audit, part 1 of 2: First']
    now[0] = 7.0  # something else
    with progress.shared():
        now[0] = 27.0
        progress.count(40)  # half a second an image; 10 + 100 + 300 are left
    assert progress.left() == 205
    assert lines[1:] == ['audit, part 1 of 2: First, at most 3 min left']
    now[0] = 29.0
    progress.count(4)  # 22 s for 44 images, 406 are left
    assert progress.left() == 203
    assert len(lines) == 2  # not yet
    now[0] = 33.0  # something else
    progress.next()  # the first one ended early
    assert progress.left() == 0.5 * 310
    assert lines[2:] == ['audit, part 2 of 2: Second, at most 3 min left']
    progress.count(400)  # more than was planned
    assert progress.left() == pytest.approx(10 * 22 / 444)


def test_silence():
    progress = Progress()
    progress.count(5)  # outside of an audit
    progress.begin([('First', 1)])
    progress.next()
    progress.count(1)
    assert progress.left() == 0
