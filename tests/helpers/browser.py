"""Opens a page in Chromium (PyQt6-WebEngine), looks for what is ugly, and may take an image.

python tests/helpers/browser.py report.html --width 400 --scheme dark --picture page.png
"""

import argparse
import json
import os
from pathlib import Path

#: Runs in the page. Text in plots must not overlap or leave its plot, nothing may leave the page or
#: its column, and Tab must reach links, summaries and boxes that scroll.
LOOK = """
(function() {
  const problems = [], width = document.documentElement.clientWidth;
  const boxed = e => e.parentElement.closest('.scroll, pre, svg');
  for (const e of document.querySelectorAll('body *')) {
    const r = e.getBoundingClientRect();
    if (!r.width || !r.height || boxed(e) || e.closest('.skip')) continue;
    if (r.right > width + 1) problems.push(`${e.tagName} leaves the page: ${e.textContent.trim()}`);
  }
  for (const e of document.querySelectorAll('.shots figure, nav li, .banner li'))
    if (e.scrollWidth > e.clientWidth + 1) problems.push(`too narrow for ${e.textContent.trim()}`);
  for (const svg of document.querySelectorAll('svg')) {
    const whole = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')].map(
      t => [t.textContent.replace(/\\s+/g, ''), t.getBoundingClientRect()]);
    texts.forEach(([text, a], i) => {
      if (a.left < whole.left - 1 || a.right > whole.right + 1 ||
          a.top < whole.top - 1 || a.bottom > whole.bottom + 1)
        problems.push(`${text} leaves its plot`);
      for (const [other, b] of texts.slice(i + 1)) {
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > 1 && y > 3) problems.push(`${text} overlaps ${other}`);
      }
    });
  }
  const rgb = name => getComputedStyle(document.body)[name].match(/\\d+/g).map(Number);
  const reached = [...document.querySelectorAll('a[href], summary, .scroll, pre')].filter(e => {
    e.focus(); return document.activeElement === e; }).length;
  document.activeElement.blur();
  return JSON.stringify({
    problems, reached, expected: document.querySelectorAll('a[href], summary, .scroll, pre').length,
    height: document.documentElement.scrollHeight, background: rgb('backgroundColor'),
    colour: rgb('color'), images: [...document.images].filter(i => i.naturalWidth > 0).length,
    opened: document.querySelectorAll('details[open]').length});
})()
"""
_OPEN = "document.querySelectorAll('details').forEach(e => e.open = true);"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Look at a page in Chromium.')
    parser.add_argument('page', type=Path)
    parser.add_argument('--width', type=int, default=1000)
    parser.add_argument('--scheme', choices=['light', 'dark'], default='light')
    parser.add_argument('--open', action='store_true', help='open all that is shown on demand')
    parser.add_argument('--picture', type=Path, help='where to write an image of the whole page')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ.setdefault('QT_QPA_PLATFORM', 'offscreen')
    scheme = f'--blink-settings=preferredColorScheme={0 if args.scheme == "dark" else 1}'
    os.environ['QTWEBENGINE_CHROMIUM_FLAGS'] = f'--no-sandbox --disable-gpu {scheme}'
    from PyQt6.QtCore import QTimer, QUrl
    from PyQt6.QtWebEngineWidgets import QWebEngineView
    from PyQt6.QtWidgets import QApplication

    app = QApplication(['browser'])
    view = QWebEngineView()
    view.resize(args.width, 900)

    def finish(found: str) -> None:
        print(found)
        if args.picture is None:
            app.quit()
            return
        view.resize(args.width, min(json.loads(found)['height'], 16000))
        QTimer.singleShot(1500, lambda: (view.grab().save(str(args.picture)), app.quit()))

    def loaded(whole: bool) -> None:
        if not whole:
            app.exit(1)
        script = (_OPEN if args.open else '') + LOOK
        view.page().runJavaScript(script, finish)

    view.loadFinished.connect(loaded)
    view.load(QUrl.fromLocalFile(str(args.page.resolve())))
    view.show()
    app.exec()


if __name__ == '__main__':
    main()
