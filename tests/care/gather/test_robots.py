"""robots.txt, against the examples of RFC 9309 and Python's own parser, where that one is right."""

from urllib.robotparser import RobotFileParser

import pytest

from keensight.care.gather.robots import rules_in

RFC = """
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""


@pytest.mark.parametrize(
    ("agent", "path", "allowed"),
    [
        ("foobot", "/example/page.html", True),
        ("foobot", "/example/allowed.gif", True),
        ("foobot", "/other.html", False),
        ("barbot", "/example/page.html", False),
        ("bazbot", "/example/page.html", False),
        ("bazbot", "/example/other.html", True),
        ("quxbot", "/example/page.html", True),
        ("keensight", "/example/page.html", False),
        ("keensight", "/publications/a.html", True),
        ("keensight", "/publications/a.gif", True),  # both fit; the longer one counts
        ("keensight", "/a.gif", False),
        ("keensight", "/a.gif?size=2", True),
    ],
)
def test_the_rfcs_own_example(agent, path, allowed):
    assert rules_in(RFC, agent).allow(path) is allowed


FILES = [
    "",
    "User-agent: *\nDisallow: /",
    "User-agent: *\nDisallow:",
    "User-agent: other\nDisallow: /",
    "User-agent: keensight\nDisallow: /private\n\nUser-agent: *\nDisallow: /",
    "# a remark\nUser-agent: *  # all\nDisallow: /a\nDisallow: /b/c",
    "User-agent: a\nUser-agent: keensight\nDisallow: /b\n",
]


@pytest.mark.parametrize("text", FILES)
def test_plain_files_are_read_as_python_reads_them(text):
    peer = RobotFileParser()
    peer.parse(text.splitlines())
    ours = rules_in(text)
    for path in ("/", "/a", "/ab.jpg", "/b/c/d.jpg", "/b", "/private/x.jpg", "/public.jpg"):
        assert ours.allow(path) is peer.can_fetch("keensight", f"https://example.org{path}"), path


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("/*.jpg", "/a/b.jpg?x", False),
        ("/*.jpg$", "/a/b.jpg?x", True),
        ("/a%3Cd", "/a<d", False),
        ("/Äpfel", "/%C3%84pfel/1", False),
        ("/x*y*z$", "/x1y2z", False),
        ("/x*y*z$", "/x1y2zz3", True),
        ("/fish", "/catfish", True),
    ],
)
def test_wildcards_and_encodings(pattern, path, allowed):
    assert rules_in(f"User-agent: *\nDisallow: {pattern}").allow(path) is allowed


def test_allow_wins_where_two_are_equally_long():
    assert rules_in("User-agent: *\nDisallow: /page\nAllow: /page").allow("/page")


def test_a_pattern_that_would_keep_a_regular_expression_busy_is_quick():
    rules = rules_in("User-agent: *\nDisallow: /" + "*a" * 200 + "$")
    assert rules.allow("/" + "a" * 5000 + "b")


def test_the_delay_is_that_of_our_group_and_bounded():
    text = "User-agent: *\nCrawl-delay: 5\n\nUser-agent: keensight\nCrawl-delay: 1000000\n"
    assert rules_in(text).delay_s == 60
    assert rules_in(text, "other").delay_s == 5
