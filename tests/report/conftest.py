"""Pages without pictures where a test looks at the page alone: pictures take most of the time."""

import pytest


@pytest.fixture(autouse=True)
def quick_pages(request, monkeypatch):
    """No pictures, but in the fixtures that tests share and in tests that compare bytes."""
    if "same_bytes" not in request.node.name:
        monkeypatch.setattr("stzjax.figures.picture.draw", lambda chart: None)
        monkeypatch.setattr("stzjax.figures.picture.save", lambda figure, path: None)
        monkeypatch.setattr("stzjax.report.page._only_pictures", lambda found: {})
