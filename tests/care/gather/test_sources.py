"""Each source, against what its documentation says that it answers.

The answers have the shape and the names of fields that the services document (November 2026); the values are made up.
The services themselves are out of reach here.
"""

import json

import pytest

from keensight.care.gather.asking import Asker, KeyRefusedError
from keensight.care.gather.client import LaterError
from keensight.care.gather.folder import JOURNAL, GatherFolder
from keensight.care.gather.found import Found, Search
from keensight.care.gather.licences import WANTED
from keensight.care.gather.network import RefusedError, UnreachableError
from keensight.care.gather.sources import SOURCES, key_of, source_called
from keensight.errors import UsageError


@pytest.fixture
def find(world, tmp_path):
    """Search a source for an owl, and return what is found."""

    def find(name, *keys, licences=WANTED):
        _, source = source_called(name)
        asker = Asker(source, keys, world.client(), GatherFolder(tmp_path))
        return list(source.find(Search(asker.ask, "snowy owl", frozenset(licences), bool(keys))))

    return find


def openverse_page(asked):
    page = int(asked.query["page"])
    return {
        "result_count": 3, "page_count": 2, "page_size": 20, "page": page,
        "results": [
            {
                "id": f"{page}{i}f86c6e-05de-4da2-b4b4-0d6f4a9a3b32", "title": f"Owl {page}{i}",
                "indexed_on": "2024-01-01T00:00:00Z",
                "foreign_landing_url": f"https://www.flickr.com/photos/1@N0/{page}{i}",
                "url": f"https://live.staticflickr.com/{page}{i}_b.jpg", "creator": "Jane <b>Doe</b>",
                "creator_url": "https://www.flickr.com/photos/1@N0", "license": license,
                "license_version": "2.0",
                "license_url": f"https://creativecommons.org/licenses/{license}/2.0/",
                "provider": "flickr", "source": "flickr",
                "category": None, "filesize": None, "filetype": None, "tags": [], "attribution": "...", "mature": False,
                "height": 683, "width": 1024, "thumbnail": "https://api.openverse.org/v1/images/1/thumb/",
            }
            for i, license in enumerate(["by", "by-nc-sa"][: 3 - page])
        ],
    }  # fmt: skip


def test_openverse_without_a_key(world, find):
    world.on("https://api.openverse.org/v1/images/", lambda asked: world.says(openverse_page(asked)))
    found = find("openverse")
    assert [(each.url, each.licence) for each in found] == [
        ("https://live.staticflickr.com/10_b.jpg", "by"),
        ("https://live.staticflickr.com/11_b.jpg", "by-nc-sa"),
        ("https://live.staticflickr.com/20_b.jpg", "by"),
    ]
    assert found[0] == Found(
        "https://live.staticflickr.com/10_b.jpg", "openverse", "snowy owl", "https://www.flickr.com/photos/1@N0/10",
        "Owl 10", "Jane Doe", "https://www.flickr.com/photos/1@N0", "by", "https://creativecommons.org/licenses/by/2.0/",
    )  # fmt: skip
    assert [each.query for each in world.asked] == [
        {"q": "snowy owl", "page_size": "20", "page": "1"},
        {"q": "snowy owl", "page_size": "20", "page": "2"},
    ]
    assert "Authorization" not in world.asked[0].headers
    assert world.waits == [3]  # 20 requests a minute


def test_openverse_filters_by_licence_itself(world, find):
    world.on("https://api.openverse.org/v1/images/", lambda asked: world.says(openverse_page(asked)))
    find("openverse", licences={"by", "cc0", "pexels"})
    assert world.asked[0].query["license"] == "cc0,by"


def test_openverse_with_a_client_asks_for_a_token_once_and_gets_larger_pages(world, find, tmp_path):
    world.on("https://api.openverse.org/v1/images/", lambda asked: world.says(openverse_page(asked)))
    world.on(
        "https://api.openverse.org/v1/auth_tokens/token/",
        {"access_token": "t0ken", "expires_in": 36000, "token_type": "Bearer", "scope": "read write"},
    )
    assert len(find("openverse", "an-id", "a-secret")) == 3
    token, first, second = world.asked
    assert (token.method, token.form) == (
        "POST",
        {"grant_type": "client_credentials", "client_id": "an-id", "client_secret": "a-secret"},
    )
    assert first.headers["Authorization"] == second.headers["Authorization"] == "Bearer t0ken"
    assert first.query["page_size"] == "50"
    assert not any(secret in (tmp_path / JOURNAL).read_text() for secret in ("t0ken", "an-id", "a-secret"))


def test_openverse_that_does_not_know_the_client(world, find):
    world.on("https://api.openverse.org/v1/auth_tokens/token/", world.says({"error": "invalid_client"}, 401))
    with pytest.raises(KeyRefusedError, match="401"):
        find("openverse", "an-id", "a-secret")


def test_openverses_own_words_about_an_error_are_kept(world, find):
    said = {"detail": "Authentication is required to retrieve results beyond page 12"}
    world.on(
        "https://api.openverse.org/v1/images/",
        lambda asked: world.says(openverse_page(asked)) if asked.query["page"] == "1" else world.says(said, 401),
    )
    with pytest.raises(RefusedError, match=r"Openverse answers with HTTP status 401 \(Authentication is required"):
        find("openverse")


def commons_page(asked):
    first = int(asked.query.get("gsroffset", 0))
    files = "https://upload.wikimedia.org/wikipedia/commons"
    jane = '<a href="//commons.wikimedia.org/wiki/User:Jane" title="User:Jane">Jane &amp; Joe</a>'
    pages = [
        {
            "pageid": 1000 + first + i, "ns": 6, "title": f"File:Owl {first + i}.jpg", "index": first + 3 - i,
            "imagerepository": "local",
            "imageinfo": [{
                "thumburl": f"{files}/thumb/a/a2/Owl_{first + i}.jpg/960px-Owl_{first + i}.jpg",
                "thumbwidth": 960, "thumbheight": 640, "url": f"{files}/a/a2/Owl_{first + i}.jpg",
                "descriptionurl": f"https://commons.wikimedia.org/wiki/File:Owl_{first + i}.jpg",
                "descriptionshorturl": f"https://commons.wikimedia.org/w/index.php?curid={1000 + first + i}",
                "extmetadata": {
                    "ObjectName": {"value": f"Owl {first + i}", "source": "mediawiki-metadata", "hidden": ""},
                    "Artist": {"value": jane, "source": "commons-desc-page"},
                    "LicenseShortName": {"value": short, "source": "commons-desc-page"},
                    **({"LicenseUrl": {"value": url, "source": "commons-desc-page"}} if url else {}),
                    "License": {"value": code, "source": "commons-templates", "hidden": ""},
                },
            }],
        }
        for i, (short, url, code) in enumerate([
            ("CC BY-SA 4.0", "https://creativecommons.org/licenses/by-sa/4.0", "cc-by-sa-4.0"),
            ("Public domain", "", "pd"),
            ("CC0", "http://creativecommons.org/publicdomain/zero/1.0/deed.en", "cc0"),
        ])
    ]  # fmt: skip
    more = {"continue": {"gsroffset": 50, "continue": "gsroffset||"}} if not first else {}
    return {"batchcomplete": True, **more, "query": {"pages": pages}}


def test_commons(world, find):
    world.on("https://commons.wikimedia.org/w/api.php", lambda asked: world.says(commons_page(asked)))
    found = find("commons")
    assert [each.licence for each in found] == ["cc0", "pdm", "by-sa"] * 2  # by the index, as the search ranks them
    assert found[2] == Found(
        "https://upload.wikimedia.org/wikipedia/commons/thumb/a/a2/Owl_0.jpg/960px-Owl_0.jpg", "commons", "snowy owl",
        "https://commons.wikimedia.org/wiki/File:Owl_0.jpg", "Owl 0", "Jane & Joe", "", "by-sa",
        "https://creativecommons.org/licenses/by-sa/4.0",
    )  # fmt: skip
    first, second = world.asked
    assert first.query["gsrsearch"] == "snowy owl filetype:bitmap"
    assert (second.query["gsroffset"], second.query["continue"]) == ("50", "gsroffset||")


def test_commons_that_lags_is_asked_again_after_what_it_says(world, find):
    """A lag comes with HTTP status 200 and Retry-After: https://www.mediawiki.org/wiki/Manual:Maxlag_parameter."""
    lag = {"error": {"code": "maxlag", "info": "Waiting for 10.64.48.35: 8.2 seconds lagged.", "lag": 8.2}}
    left = [world.says(lag, headers={"Retry-After": "5"})]
    world.on(
        "https://commons.wikimedia.org/w/api.php", lambda asked: left.pop() if left else world.says(commons_page(asked))
    )
    assert len(find("commons")) == 6
    assert world.waits[0] == 5


def test_another_error_of_commons_is_told(world, find):
    world.on("https://commons.wikimedia.org/w/api.php", {"error": {"code": "badvalue", "info": "..."}})
    with pytest.raises(RefusedError, match="Wikimedia Commons answers with an error: badvalue"):
        find("commons")


def inaturalist_page(asked):
    below = int(asked.query.get("id_below", 1000))
    numbers = [below - 1, below - 2] if below > 998 else []
    return {
        "total_results": 2, "page": 1, "per_page": 100,
        "results": [
            {
                "id": number, "uri": f"https://www.inaturalist.org/observations/{number}", "license_code": "cc-by",
                "quality_grade": "research",
                "taxon": {"name": "Bubo scandiacus", "preferred_common_name": "Snowy Owl"},
                "user": {"login": "jane_d", "name": None},
                "photos": [
                    {"id": 10 * number + i, "license_code": code, "attribution": "(c) jane_d",
                     "url": f"https://inaturalist-open-data.s3.amazonaws.com/photos/{10 * number + i}/square.jpg",
                     "original_dimensions": {"width": 2048, "height": 1365}, "flags": []}
                    for i in range(2)
                ],
            }
            for number, code in zip(numbers, ["cc-by-nc", None], strict=False)
        ],
    }  # fmt: skip


def test_inaturalist(world, find):
    world.on("https://api.inaturalist.org/v1/observations", lambda asked: world.says(inaturalist_page(asked)))
    found = find("inaturalist", licences={"by-nc", "cc0", "none"})
    assert [(each.url, each.licence) for each in found] == [
        ("https://inaturalist-open-data.s3.amazonaws.com/photos/9990/large.jpg", "by-nc"),
        ("https://inaturalist-open-data.s3.amazonaws.com/photos/9980/large.jpg", "none"),
    ]
    assert (found[0].creator, found[0].licence_url) == ("jane_d", "https://creativecommons.org/licenses/by-nc/4.0/")
    assert world.asked[0].query["photo_license"] == "cc0,cc-by-nc"
    assert [each.query.get("id_below") for each in world.asked] == [None, "998"]
    assert world.waits == [1]


LICENCES = {
    "licenses": {
        "license": [
            {"id": 0, "name": "All Rights Reserved", "url": ""},
            {"id": 4, "name": "Attribution License", "url": "https://creativecommons.org/licenses/by/2.0/"},
            {"id": 7, "name": "No known copyright restrictions", "url": "https://www.flickr.com/commons/usage/"},
            {"id": 8, "name": "United States Government Work", "url": "http://www.usa.gov/copyright.shtml"},
            {"id": 11, "name": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"},
        ]
    },
    "stat": "ok",
}


def flickr_answers(asked):
    if asked.query["method"] == "flickr.photos.licenses.getInfo":
        return LICENCES
    page = int(asked.query["page"])
    return {
        "photos": {
            "page": page, "pages": 2, "perpage": 100, "total": 2,
            "photo": [{
                "id": f"5{page}", "owner": "12@N08", "secret": "abc", "server": "65535", "title": f"Owl {page}",
                "ispublic": 1,                 "license": ["4", "11"][page - 1], "ownername": "Jane",
                "url_m": "https://live.staticflickr.com/m.jpg",
                **({"url_l": "https://live.staticflickr.com/1_b.jpg", "width_l": 1024} if page == 1 else {}),
            }],
        },
        "stat": "ok",
    }  # fmt: skip


def test_flickr(world, find, tmp_path):
    world.on("https://api.flickr.com/services/rest/", lambda asked: world.says(flickr_answers(asked)))
    one, other = find("flickr", "f1ickr-key")
    assert one == Found(
        "https://live.staticflickr.com/1_b.jpg", "flickr", "snowy owl", "https://www.flickr.com/photos/12@N08/51/",
        "Owl 1", "Jane", "https://www.flickr.com/people/12@N08/", "by", "https://creativecommons.org/licenses/by/2.0/",
    )  # fmt: skip
    assert (other.url, other.licence_url) == (
        "https://live.staticflickr.com/m.jpg",
        "https://creativecommons.org/licenses/by/4.0/",
    )
    assert world.asked[1].query["license"] == "4,7,8,11"  # all but "all rights reserved"
    assert {each.query["api_key"] for each in world.asked} == {"f1ickr-key"}
    assert "f1ickr-key" not in (tmp_path / JOURNAL).read_text()


def test_flickr_that_does_not_know_the_key(world, find):
    said = {"stat": "fail", "code": 100, "message": "Invalid API Key (Key has invalid format)"}
    world.on("https://api.flickr.com/services/rest/", said)
    with pytest.raises(KeyRefusedError, match="Invalid API Key"):
        find("flickr", "key")


def test_flickr_that_is_down_for_a_moment_is_asked_again(world, find):
    said = {"stat": "fail", "code": 105, "message": "Service currently unavailable"}
    world.on("https://api.flickr.com/services/rest/", said)
    with pytest.raises(UnreachableError, match="Flickr is too busy"):
        find("flickr", "key")
    assert len(world.asked) == 4


def test_pexels(world, find, tmp_path):
    def answers(asked):
        page = int(asked.query["page"])
        photo = {
            "id": page, "width": 3024, "height": 3024, "url": f"https://www.pexels.com/photo/owl-{page}/",
            "photographer": "Joey Farina",
            "photographer_url": "https://www.pexels.com/@joey", "photographer_id": 680589, "liked": False,
            "src": {"original": f"https://images.pexels.com/photos/{page}/o.jpeg",
                    "large2x": f"https://images.pexels.com/photos/{page}/l.jpeg?dpr=2",
                    "large": f"https://images.pexels.com/photos/{page}/l.jpeg"},
            "alt": "Brown owl",
        }  # fmt: skip
        more = (
            {"next_page": "https://api.pexels.com/v1/search/?page=2&per_page=80&query=snowy+owl"} if page == 1 else {}
        )
        return world.says({"total_results": 81, "page": page, "per_page": 80, "photos": [photo], **more})

    world.on("https://api.pexels.com/v1/search", answers)
    one, _ = find("pexels", "p3xels-key")
    assert one == Found(
        "https://images.pexels.com/photos/1/l.jpeg?dpr=2", "pexels", "snowy owl", "https://www.pexels.com/photo/owl-1/",
        "Brown owl", "Joey Farina", "https://www.pexels.com/@joey", "pexels", "https://www.pexels.com/license/",
    )  # fmt: skip
    assert [each.headers["Authorization"] for each in world.asked] == ["p3xels-key"] * 2
    assert "p3xels-key" not in (tmp_path / JOURNAL).read_text()


def test_pexels_at_its_limit(world, find):
    """Pexels tells its limits with good answers only; a 429 has none, so it is waited for, longer and longer."""
    world.on("https://api.pexels.com/v1/search", world.says("Rate limit exceeded", 429))
    with pytest.raises(LaterError):
        find("pexels", "key")
    assert world.waits == [1, 2, 4]


def unsplash_page(asked):
    page = int(asked.query["page"])
    return {
        "total": 2, "total_pages": 2,
        "results": [{
            "id": f"eOLpJyt{page}", "width": 4000, "height": 3000,
            "description": None, "alt_description": "an owl",
            "user": {"id": "1", "name": "Jeff Sheldon", "links": {"html": "https://unsplash.com/@ugmonk"}},
            "urls": {size: f"https://images.unsplash.com/photo-{page}?w={size}" for size in ("raw", "full", "regular")},
            "links": {"html": f"https://unsplash.com/photos/eOLpJyt{page}",
                      "download_location": f"https://api.unsplash.com/photos/eOLpJyt{page}/download?ixid=abc"},
        }],
    }  # fmt: skip


def test_unsplash(world, find):
    world.on("https://api.unsplash.com/search/photos", lambda asked: world.says(unsplash_page(asked)))
    one, _ = find("unsplash", "uns-key")
    assert one == Found(
        "https://images.unsplash.com/photo-1?w=regular", "unsplash", "snowy owl", "https://unsplash.com/photos/eOLpJyt1",
        "an owl", "Jeff Sheldon", "https://unsplash.com/@ugmonk", "unsplash", "https://unsplash.com/license",
        "https://api.unsplash.com/photos/eOLpJyt1/download?ixid=abc",
    )  # fmt: skip
    assert world.asked[0].headers["Authorization"] == "Client-ID uns-key"
    assert world.asked[0].headers["Accept-Version"] == "v1"


def test_unsplash_that_does_not_know_the_key(world, find):
    world.on(
        "https://api.unsplash.com/search/photos",
        world.says({"errors": ["OAuth error: The access token is invalid"]}, 401),
    )
    with pytest.raises(KeyRefusedError):
        find("unsplash", "uns-key")


TEMPLATE = """
name = "mine"
url = "https://api.search.example/v2/images?q={query}&from={offset}&key={key}"
key = "MY_SEARCH_KEY"
results = "data.items"
picture = "media.0.href"
landing_page = "page"
creator = "author.name"
licence = "rights"
headers = { X-Version = "2" }
"""


def test_a_service_that_a_file_describes(world, find, tmp_path):
    """What a search service of today answers, or one of tomorrow, is read by paths in its JSON."""

    def answers(asked):
        first = int(asked.query["from"])
        some = [{"media": [{"href": f"https://pictures.example/{first}.jpg"}], "page": "https://example.org/p",
                 "author": {"name": "Jo"}, "rights": "CC BY 4.0"}]  # fmt: skip
        return world.says({"data": {"items": some if first < 2 else []}, "echo": asked.query["key"]})

    world.on("https://api.search.example/v2/images", answers)
    (tmp_path / "mine.toml").write_text(TEMPLATE)
    found = find(str(tmp_path / "mine.toml"), "my key&")
    assert [each.url for each in found] == ["https://pictures.example/0.jpg", "https://pictures.example/1.jpg"]
    assert (found[0].creator, found[0].licence, found[0].landing_page) == ("Jo", "by", "https://example.org/p")
    assert [each.query["from"] for each in world.asked] == ["0", "1", "2"]
    assert world.asked[0].query == {"q": "snowy owl", "from": "0", "key": "my key&"}
    assert world.asked[0].headers["X-Version"] == "2"
    assert "my key" not in (tmp_path / JOURNAL).read_text()


def test_a_described_service_that_takes_no_notice_of_the_page_is_asked_twice(world, find, tmp_path):
    some = [{"media": [{"href": "https://pictures.example/1.jpg"}]}]
    world.on("https://api.search.example/v2/images", world.says({"data": {"items": some}}))
    (tmp_path / "mine.toml").write_text(TEMPLATE)
    assert [each.url for each in find(str(tmp_path / "mine.toml"), "key")] == ["https://pictures.example/1.jpg"]
    assert len(world.asked) == 2


def test_a_described_service_may_give_the_next_pages_address_but_not_on_another_host(world, find, tmp_path):
    text = TEMPLATE.replace("&from={offset}", "") + 'next = "links.next"\n'
    (tmp_path / "mine.toml").write_text(text)
    nexts = {"": "https://api.search.example/v2/images?q=x&cursor=2", "2": "https://evil.example/?q=x&key={key}"}
    some = {"items": [{"media": [{"href": "https://pictures.example/1.jpg"}]}]}
    world.on(
        "https://api.search.example/v2/images",
        lambda asked: world.says({"data": some, "links": {"next": nexts[asked.query.get("cursor", "")]}}),
    )
    world.on("https://evil.example/", b"{}")
    with pytest.raises(RefusedError, match=r"leads to another host, https://evil\.example"):
        find(str(tmp_path / "mine.toml"), "key")
    assert world.paths("evil.example") == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("results =", "resluts ="), "has the key 'resluts'. Did you mean 'results'"),
        (('results = "data.items"', ""), "has no results"),
        (('name = "mine"', 'name = "Mine!"'), "name is 'Mine!'"),
        (('name = "mine"', 'name = "flickr"'), "a source that there is"),
        (("{query}", "owl"), "has {query} in it"),
        (("https://api", "file://api"), "begins with https://"),
        (('key = "MY_SEARCH_KEY"', ""), "does not name the environment variable"),
        (("https://api", "http://api"), "Use https://"),
        (('"2"', "2"), "headers must be text"),
        (('picture = "media.0.href"', "picture = 7"), "picture is 7"),
        (("[", "[["), "cannot be read"),
        (("name", "= name"), "cannot be read"),
    ],
)
def test_what_is_wrong_in_such_a_file_is_said(tmp_path, change, why):
    text = TEMPLATE.replace(*change, 1)
    if text == TEMPLATE:
        text += "[["
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError) as told:
        source_called(str(tmp_path / "mine.toml"))
    assert why in str(told.value)


def test_an_unknown_source_and_a_missing_key_are_usage_errors():
    with pytest.raises(UsageError, match="There is no source 'flikr'. Did you mean 'flickr'"):
        source_called("flikr")
    with pytest.raises(UsageError, match="FLICKR_API_KEY is not set. Get one at https://www.flickr.com"):
        key_of(SOURCES["flickr"], {})
    with pytest.raises(UsageError, match="PEXELS_API_KEY holds something that is no key") as told:
        key_of(SOURCES["pexels"], {"PEXELS_API_KEY": "secret\nX-Evil: 1"})
    assert "secret" not in str(told.value)
    assert key_of(SOURCES["flickr"], {"FLICKR_API_KEY": " k "}) == ("k",)
    assert key_of(SOURCES["openverse"], {}) == key_of(SOURCES["openverse"], {"OPENVERSE_CLIENT_ID": "1"}) == ()


HOSTS = {  # of each source: where it is asked, and where its pages' answers lie
    "openverse": ("https://api.openverse.org/", "results"), "commons": ("https://commons.wikimedia.org/", "query"),
    "inaturalist": ("https://api.inaturalist.org/", "results"), "flickr": ("https://api.flickr.com/", "photos"),
    "pexels": ("https://api.pexels.com/", "photos"), "unsplash": ("https://api.unsplash.com/", "results"),
}  # fmt: skip
ODD = [[], {}, None, 7, "text", [[]], [{}], [None],
       [{"url": 7, "src": 7, "urls": [], "photos": 7, "links": 1, "id": "x"}],
       {"pages": 7}, {"pages": [{"imageinfo": [{}]}]}, {"photo": [{"url_l": ["x"]}]}]  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_a_new_row_has_a_test_and_odd_answers_of_any_source_find_nothing(world, find, name, tmp_path):
    """Whatever a service answers, nothing but an address of the web is taken for a picture, and the search ends."""
    host, place = HOSTS[name]
    for odd in ODD:
        more = {"page_count": 9, "total_pages": 9, "next_page": "x", **(LICENCES if name == "flickr" else {})}
        world.on(host, world.says(json.dumps({place: odd, **more})))
        world.asked.clear()
        (tmp_path / JOURNAL).unlink(missing_ok=True)
        assert find(name, *(["key"] * len(SOURCES[name].keys))) == []
        assert 1 <= len(world.asked) <= 12, odd


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("body", [b"<html>", b"", b"[" * 100_000, b"\xff\xfe"])
def test_what_is_not_json_is_told(world, find, name, body):
    world.on(HOSTS[name][0], world.says(body))
    with pytest.raises(RefusedError, match="not JSON"):
        find(name, *(["key"] * len(SOURCES[name].keys)))
